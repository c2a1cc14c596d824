"""The users of a shared app, in one file of the data folder: names, hashes of passwords and of API keys. Does not know requests."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from smolvlm_core.access import passwords
from smolvlm_core.errors import LensError, StoreError
from smolvlm_core.files import read_json, write_json

FILE_NAME = "users.json"
EVERYONE = "everyone"  # who knows the shared password
KEY_PREFIX = "lens"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._+@-]{0,98}[a-z0-9])?|@[a-z0-9](?:[a-z0-9.-]{0,98}[a-z0-9])")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_LOCK_SECONDS = 10.0
_LAST_SECOND = 253_402_214_400.0  # of the year 9999, in every time zone


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """`digest`: SHA-256 of the secret, which is random and long: a slow hash would add nothing. `created`: seconds since 1970."""

    id: str
    label: str
    digest: str
    created: float


@dataclass(frozen=True, kw_only=True)
class User:
    """One person, one domain, or everyone who knows the shared password.

    Attributes:
        name: in lower case. `@example.org` lets in whoever an identity provider vouches for with such an address.
        password: its Argon2id hash; "" for no login with a password.
        is_admin: may add and remove backends, name paths on this machine, and see usage.
        owns_machine_data: sees what was stored before the app was shared.
    """

    name: str
    password: str = ""
    is_admin: bool = False
    owns_machine_data: bool = False
    keys: tuple[ApiKey, ...] = ()

    @property
    def is_domain(self) -> bool:
        return self.name.startswith("@")

    def folder(self, data_folder: Path) -> Path:
        """Where conversations, pictures, batches and votes of this user are."""
        return data_folder if self.owns_machine_data else data_folder / "users" / self.name


# Whoever uses an app that is not shared.
LOCAL = User(name="", is_admin=True, owns_machine_data=True)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of each user. `disk_bytes`: of pictures, clips, uploads and timelines. `questions`: that run and wait at once."""

    disk_bytes: int = 5 * 2**30
    questions: int = 4


UNLIMITED = Limits(disk_bytes=2**62, questions=2**31)


@dataclass(frozen=True)
class _Contents:
    users: dict[str, User] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


class Users:
    """The file of users of one data folder. Read again when it has changed. Used from any thread and process."""

    def __init__(self, data_folder: Path) -> None:
        self.data_folder, self._path = data_folder, data_folder / FILE_NAME
        self._lock = threading.Lock()
        self._read: tuple[object, _Contents] = (None, _Contents())

    def all(self) -> list[User]:
        """Raises StoreError where the file cannot be read: nobody is let in then."""
        return list(self._contents().users.values())

    @property
    def limits(self) -> Limits:
        """Raises StoreError."""
        return self._contents().limits

    def find(self, name: str) -> User | None:
        """The user of that name, or of the domain of an address. Raises StoreError."""
        name, users = normalized(name), self._contents().users
        if (user := users.get(name)) is not None:
            return None if user.is_domain else user
        _, at, domain = name.rpartition("@")
        rule = users.get(f"@{domain}") if at and _NAME.fullmatch(name) else None
        return replace(rule, name=name, owns_machine_data=False, keys=()) if rule is not None else None

    def owner_of_key(self, key: str) -> User | None:
        """Raises StoreError."""
        prefix, _, rest = key.partition("_")
        identity, _, secret = rest.partition("_")
        if prefix != KEY_PREFIX or not secret:
            return None
        digest = _digest(secret)
        for user in self.all():
            for known in user.keys:
                if known.id == identity and hmac.compare_digest(known.digest, digest):
                    return user
        return None

    # Changes. Each raises StoreError where the file cannot be written, LensError where the change makes no sense.

    def put(
        self, name: str, *, password: str | None = None, is_admin: bool | None = None, owns: bool | None = None
    ) -> User:
        """Add a user, or change what is not None. `password`: the plain text, or "" for no login with a password."""
        name = normalized(name)
        if not _NAME.fullmatch(name):
            raise LensError(
                f"{name!r} cannot be a user's name.",
                "Use letters, digits and . _ + - @, as in an e-mail address, or @example.org for a whole domain.",
            )
        if password and name.startswith("@"):
            raise LensError("A domain has no password.", "Its people sign in with their identity provider.")
        digest = passwords.hash_of(password) if password else password

        def change(users: dict[str, User]) -> None:
            old = users.get(name, User(name=name))
            users[name] = replace(
                old,
                password=old.password if digest is None else digest,
                is_admin=old.is_admin if is_admin is None else is_admin,
                owns_machine_data=old.owns_machine_data if owns is None else owns,
            )
            if owns and name.startswith("@"):
                raise LensError("A domain is no one person.", "Give what is stored on this machine to one user.")
            if owns:
                for other in users.values():
                    if other.owns_machine_data and other.name != name:
                        raise LensError(
                            f"What is stored on this machine belongs to {other.name}.", "Remove that user first."
                        )

        return self._change(change).users[name]

    def remove(self, name: str) -> User:
        """Their logins and keys end at once. What they stored stays."""
        removed: list[User] = []
        self._change(lambda users: removed.append(users.pop(_known(users, name).name)))
        return removed[0]

    def add_key(self, name: str, label: str = "") -> str:
        """The key, which is shown this once: only its hash is stored."""
        secret, identity = secrets.token_urlsafe(32), secrets.token_hex(4)
        key = ApiKey(id=identity, label=label, digest=_digest(secret), created=time.time())

        def change(users: dict[str, User]) -> None:
            user = _known(users, name)
            if user.is_domain:
                raise LensError("A domain has no API keys.", "Add the person as a user first.")
            users[user.name] = replace(user, keys=(*user.keys, key))

        self._change(change)
        return f"{KEY_PREFIX}_{identity}_{secret}"

    def revoke_key(self, identity: str) -> User:
        """`identity`: the part of a key between its underscores, as the list of users shows it."""
        found: list[User] = []

        def change(users: dict[str, User]) -> None:
            for user in users.values():
                if any(key.id == identity for key in user.keys):
                    found.append(user)
            if not found:
                raise LensError(f"There is no API key {identity!r}.", "`users` lists them.")
            kept = tuple(key for key in found[0].keys if key.id != identity)
            users[found[0].name] = replace(found[0], keys=kept)

        self._change(change)
        return found[0]

    def set_limits(self, *, disk_bytes: int | None = None, questions: int | None = None) -> Limits:
        def change(limits: Limits) -> Limits:
            return Limits(disk_bytes=disk_bytes or limits.disk_bytes, questions=questions or limits.questions)

        return self._change(lambda users: None, change).limits

    def _change(
        self, change: Callable[[dict[str, User]], None], limits: Callable[[Limits], Limits] = lambda old: old
    ) -> _Contents:
        try:
            self.data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self._path.with_suffix(".lock"), timeout=_LOCK_SECONDS, mode=0o600):
                old = _parsed(read_json(self._path, {}), self._path)
                users = dict(old.users)
                change(users)
                new = _Contents(users, limits(old.limits))
                write_json(self._path, _as_json(new), private=True)
        except (OSError, TimeoutError) as error:
            raise StoreError(f"{self._path} cannot be written: {error}.", "Check the folder's permissions.") from error
        return new

    def _contents(self) -> _Contents:
        with self._lock:
            try:
                found = self._path.stat()
                signature: object = (found.st_mtime_ns, found.st_size, found.st_ino)
            except FileNotFoundError:
                signature = "missing"
            except OSError as error:
                raise StoreError(f"{self._path} cannot be read: {error}.", "Check its permissions.") from error
            if signature != self._read[0]:
                self._read = (signature, _parsed(read_json(self._path, {}), self._path))
            return self._read[1]


def normalized(name: str) -> str:
    """As names are stored. Only ASCII becomes lower case: the Kelvin sign would become the letter k, and so another user's name."""
    return name.strip().translate(_LOWER)


def _known(users: dict[str, User], name: str) -> User:
    if (user := users.get(normalized(name))) is None:
        raise LensError(f"There is no user {name!r}.", f"There are: {', '.join(users) or 'none'}.")
    return user


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _as_json(contents: _Contents) -> dict[str, Any]:
    return {"users": [asdict(user) for user in contents.users.values()], "limits": asdict(contents.limits)}


def _parsed(value: Any, path: Path) -> _Contents:
    """Raises StoreError for what is no file of users: one that is half understood could let the wrong people in."""
    try:
        users = [_user(row) for row in _list(value.get("users", []))]
        by_name = {user.name: user for user in users}
        if len(by_name) < len(users):
            raise ValueError("a user is listed twice")
        limits = Limits(**value.get("limits", {}))
        if not all(type(number) is int and number > 0 for number in asdict(limits).values()):
            raise ValueError("a limit is not a positive number")
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}.", "Repair that file, or remove it and add the users again."
        ) from error
    return _Contents(by_name, limits)


def _user(row: dict[str, Any]) -> User:
    keys = tuple(ApiKey(**key) for key in _list(row.pop("keys", [])))
    user = User(**row, keys=keys)
    parts = (part for key in keys for part in (key.id, key.digest, key.label))
    texts: Iterable[object] = (user.name, user.password, *parts)
    if not all(isinstance(text, str) for text in texts) or not _NAME.fullmatch(user.name):
        raise ValueError("a user has a wrong name, password or key")
    if not all(isinstance(key.created, int | float) and 0 <= key.created < _LAST_SECOND for key in keys):
        raise ValueError(f"a key of {user.name} has no time")
    if not isinstance(user.is_admin, bool) or not isinstance(user.owns_machine_data, bool):
        raise ValueError(f"the rights of {user.name} are not true or false")
    return user


def _list(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise TypeError("a list is expected")
    return [dict(row) for row in value]
