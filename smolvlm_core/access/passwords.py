"""Hashes of passwords: Argon2id with the library's parameters, which follow RFC 9106. Does not know users."""

from __future__ import annotations

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from smolvlm_core.errors import LensError

SHORTEST, LONGEST = 10, 1000  # characters
_one_at_a_time = (
    threading.Lock()
)  # each takes 64 MiB and tens of milliseconds: many at once would be a load of their own


def hash_of(password: str) -> str:
    """Raises LensError for a password that is too short or too long."""
    if len(password) < SHORTEST:
        raise LensError(
            "This password is too short.", f"Use at least {SHORTEST} characters; several words are easy to remember."
        )
    if len(password) > LONGEST:
        raise LensError("This password is too long.", f"Use at most {LONGEST} characters.")
    with _one_at_a_time:
        return _hasher().hash(_bytes(password))


def matches(password: str, hashed: str) -> bool:
    """`hashed` may be "": then nothing matches, and that takes as long, so that it does not tell which users exist."""
    if len(password) > LONGEST:
        return False
    with _one_at_a_time:
        try:
            return _hasher().verify(hashed or _other(), _bytes(password)) and bool(hashed)
        except (Argon2Error, InvalidHashError):
            return False


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _other() -> str:
    return _hasher().hash("the password of no one")
