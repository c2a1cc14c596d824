"""Logins: a password for a signed token, a token for its user. Knows users; not cookies or pages."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import os
import secrets
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer

from smolvlm_core.access import passwords
from smolvlm_core.access.attempts import Attempts
from smolvlm_core.access.users import EVERYONE, User, Users, normalized
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.files import Remembered

logger = logging.getLogger(__name__)
LIFETIME_SECONDS = 14 * 24 * 3600
KEPT_SECONDS = 32 * 24 * 3600  # Streamlit takes the cookie of an identity provider's login for 31 days
KEY_FILE = "login.key"
SIGNED_OUT_FILE = "signed-out.json"


class TooManyAttempts(LensError):
    """`seconds`: until the next try."""

    def __init__(self, seconds: float) -> None:
        super().__init__("Too many wrong passwords.", f"Try again in {max(1, round(seconds / 60))} minutes.")
        self.seconds = seconds


class WrongPassword(LensError):
    """The name or the password is wrong. Which of them is not said."""


class Logins:
    """Of one data folder. Used from any thread.

    A token ends with its time, with the password it was given for, with its user, and when it is signed out.
    """

    def __init__(self, users: Users, attempts: Attempts | None = None) -> None:
        self.users = users
        self._attempts = attempts or Attempts()
        self._signed_out = Remembered(lambda: users.data_folder / SIGNED_OUT_FILE)
        self._recent: dict[str, float] = {}  # signed out by this process, in case that could not be stored
        self._making_key = threading.Lock()

    @property
    def asks_for_name(self) -> bool:
        """False where the shared password is the only one. Raises StoreError."""
        return any(user.password and user.name != EVERYONE for user in self.users.all())

    @property
    def has_passwords(self) -> bool:
        """Raises StoreError."""
        return any(user.password for user in self.users.all())

    def sign_in(self, name: str, password: str, address: str) -> str:
        """A token for a password. `address`: where the request comes from.

        Raises:
            TooManyAttempts: from this address, or for this name. The password is not looked at.
            WrongPassword: or there is no such user.
            StoreError: the file of users cannot be read.
        """
        name = normalized(name) or EVERYONE
        place = _place(address)
        shown, address = (
            repr(name[:100]),
            repr(address)[1:-1],
        )  # neither begins a line of the log, nor commands the terminal
        if (wait := self._attempts.begin(place, name)) > 0:
            logger.warning("login of %s from %s refused: too many wrong passwords", shown, address)
            raise TooManyAttempts(wait)
        user = self.users.find(name)
        if not passwords.matches(password, user.password if user is not None else "") or user is None:
            logger.warning("login of %s from %s failed", shown, address)
            wrong = "The name or the password is wrong." if self.asks_for_name else "The password is wrong."
            raise WrongPassword(wrong)
        self._attempts.succeeded(place, name)
        logger.info("login of %s from %s", shown, address)
        return str(self._serializer.dumps([user.name, _stamp(user), secrets.token_urlsafe(12)]))

    def user_of(self, token: str) -> User | None:
        """None for a token that is forged, has ended or was signed out. Raises StoreError."""
        if (payload := self._payload(token)) is None:
            return None
        name, stamp, nonce = payload
        user = self.users.find(name)
        if user is None or not user.password or not secrets.compare_digest(stamp, _stamp(user)):
            return None
        return None if self.has_ended(nonce) else user

    def sign_out(self, token: str) -> None:
        """End a token, in every browser that has it."""
        if (payload := self._payload(token)) is not None:
            self.end(payload[2])

    def has_ended(self, login: str) -> bool:
        return login in self._recent or self._signed_out.get(login) is not None

    def end(self, login: str) -> None:
        """`login`: names one login, also one that an identity provider vouched for. Kept until it would have ended by itself."""
        now = time.time()
        self._recent[login] = now
        self._signed_out.keep(lambda _, ended: isinstance(ended, float) and ended > now - KEPT_SECONDS)
        self._signed_out.put(login, now)

    def _payload(self, token: str) -> tuple[str, str, str] | None:
        try:
            value: Any = self._serializer.loads(token, max_age=LIFETIME_SECONDS)
        except BadData:
            return None
        is_ours = isinstance(value, list) and len(value) == 3 and all(isinstance(part, str) for part in value)
        return (value[0], value[1], value[2]) if is_ours else None

    @cached_property
    def _serializer(self) -> URLSafeTimedSerializer:
        with self._making_key:
            secret = _secret(self.users.data_folder / KEY_FILE)
        return URLSafeTimedSerializer(secret, salt="login", signer_kwargs={"digest_method": hashlib.sha256})


def _place(address: str) -> str:
    """What counts as one address: in IPv6, whoever has one has its whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def _stamp(user: User) -> str:
    """Changes with the password: an earlier token is worth nothing then."""
    return hashlib.sha256(user.password.encode()).hexdigest()[:24]


def _secret(path: Path) -> bytes:
    """Made once, readable by this user only. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(file, "wb") as out:
                out.write(secrets.token_hex(32).encode())
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error}.", "Check the folder's permissions.") from error
    if len(secret) < 64:
        raise StoreError(f"{path} is damaged.", "Remove it: everyone then signs in again.")
    return secret
