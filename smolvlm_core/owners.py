"""Which process wrote something, and whether that process still runs. Does not know what was written."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import psutil

SECONDS_OFF = 2.0  # between two readings of when the same process began, where the clock is the only source


def this_process() -> str:
    """Names this process: its ID, and when it began, since the system uses IDs again. Without a dash or a dot."""
    return f"{os.getpid()} {_began(os.getpid())}"


def is_alive(owner: str) -> bool:
    """Whether the process that `this_process` named still runs. False for text that names none."""
    number, _, began = owner.partition(" ")
    try:
        now = _began(int(number))
    except (ValueError, OverflowError, OSError, psutil.Error):
        return False
    if now == began:
        return True
    try:  # where an earlier version wrote it, or where the system counts from the clock, which can have been set
        return bool(abs(psutil.Process(int(number)).create_time() - float(began)) < SECONDS_OFF)
    except (ValueError, psutil.Error):
        return False


@lru_cache(maxsize=1)
def machine() -> str:
    """Four characters that tell machines and containers apart: process IDs of another one mean nothing here."""
    return sha256(f"{platform.node()} {_boot()}".encode()).hexdigest()[:4]


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _began(number: int) -> str:
    """On Linux in ticks since the machine started: the clock may be set while the process runs."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return f"t{fields[19]}@{_boot()[:8]}"  # proc(5): starttime is field 22, the 20th after the name
    except (OSError, IndexError):
        return f"{psutil.Process(number).create_time():.0f}"
