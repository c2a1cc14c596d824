"""Whether an app is for this machine only, or shared, so that it needs a login. Pure functions of the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

LOGIN = "SMOLVLM_LENS_LOGIN"  # "always": a login on this machine too
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


def is_loopback(host: str) -> bool:
    """Of a name or an address, without a port. "" is every address of this machine."""
    name = host.strip().strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def why_shared(address: str, hosts: Collection[str], login: str = "") -> str:
    """Why a login is needed, in words; "" where it is not.

    `address`: that the server listens on. `hosts`: names it answers to. `login`: the value of $SMOLVLM_LENS_LOGIN.
    """
    if not is_loopback(address):
        return f"server.address is {address!r}" if address else "server.address is not set, which means every address"
    if others := [host for host in hosts if not is_loopback(host)]:
        return f"server.allowedHosts has {', '.join(sorted(others))}"
    if not hosts:
        return "server.allowedHosts is empty, which means every name"
    return f"{LOGIN} is set to 'always'" if login.strip().lower() == "always" else ""
