"""Values from JSON and databases, read as the dataclasses they were written from. Does not know what they mean, or files.

Whatever is in a stored file, reading it gives an object whose fields have their annotated types, or a FieldError in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from smolvlm_core.text import valid_text, with_valid_texts

T = TypeVar("T")
Tell = Callable[[str], None]
UNKNOWN = "unknown: "  # begins what `tell` gets about fields that a later version wrote
MAX_NUMBER = 2**63 - 1  # the largest that SQLite and most JSON readers hold
MAX_SECONDS = 253_402_300_799.0  # the last second of the year 9999: what a calendar can show


class FieldError(ValueError):
    """A value is not what it should be. The message names the field, in words."""


def ignore(problem: str) -> None:
    """For callers that report nothing."""


def read_object(kind: type[T], value: Any, tell: Tell = ignore) -> T:
    """An object of a dataclass, from what JSON made of its `asdict`.

    A field with a default that is missing or has a wrong value takes its default. `tell` gets a sentence about each field that
    is unknown or takes its default because of a wrong value.

    Raises:
        FieldError: it is no object, a field without a default is missing or wrong, or `kind` refuses the values.
    """
    if not isinstance(value, Mapping):
        raise FieldError(f"{_short(value)} is not an object")
    hints = _hints(kind)  # type: ignore[arg-type]
    known = {field.name: field for field in fields(kind) if field.init}  # type: ignore[arg-type]
    if unknown := sorted(str(name) for name in value.keys() - known.keys()):
        tell(f"{UNKNOWN}{', '.join(map(_short, unknown[:5]))}")
    found: dict[str, Any] = {}
    for name in known.keys() & value.keys():
        try:
            found[name] = read_value(hints[name], value[name], tell)
        except FieldError as error:
            if is_required(known[name]):
                raise FieldError(f"{name}: {error}") from None
            tell(f"{name}: {error}")
    if missing := [name for name, field in known.items() if is_required(field) and name not in found]:
        raise FieldError(f"{missing[0]} is missing")
    try:
        return kind(**found)
    except (ValueError, TypeError) as error:
        raise FieldError(str(error)) from error


def read_value(hint: Any, value: Any, tell: Tell = ignore) -> Any:
    """A JSON value as an annotated type: plain types, Literal, unions, lists, tuples, dicts with text as keys, dataclasses.

    Text has no lone surrogates. Numbers are finite and at most MAX_NUMBER in size. Raises FieldError.
    """
    origin = get_origin(hint)
    if hint is Any:
        return with_valid_texts(value)
    if origin is Literal:
        if not isinstance(value, str | int) or value not in get_args(hint):
            raise FieldError(f"{_short(value)} is not one of {', '.join(map(str, get_args(hint)))}")
        return value
    if origin in (Union, UnionType):
        return _read_union(hint, value, tell)
    if origin in (list, tuple, dict):
        return _read_container(hint, origin, value, tell)
    if is_dataclass(hint):
        return read_object(hint, value, tell)  # type: ignore[arg-type]
    return _read_plain(hint, value)


def is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def seconds_of(value: Any) -> float:
    """A moment in seconds since the epoch that a calendar can show. Raises FieldError."""
    seconds = float(read_value(float, value))
    if not 0 <= seconds <= MAX_SECONDS:
        raise FieldError(f"{_short(value)} is not a time")
    return seconds


def _read_union(hint: Any, value: Any, tell: Tell) -> Any:
    options = get_args(hint)
    if value is None and NoneType in options:
        return None
    errors = []
    for option in options:
        if option is not NoneType:
            try:
                return read_value(option, value, tell)
            except FieldError as error:
                errors.append(str(error))
    raise FieldError(errors[0] if errors else f"{_short(value)} cannot be used")


def _read_container(hint: Any, origin: Any, value: Any, tell: Tell) -> Any:
    inner = get_args(hint)
    if origin is dict:
        if not isinstance(value, dict):
            raise FieldError(f"{_short(value)} is not an object")
        return {valid_text(str(key)): read_value(inner[1], each, tell) for key, each in value.items()}
    if not isinstance(value, list | tuple):
        raise FieldError(f"{_short(value)} is not a list")
    if origin is list or inner[-1] is Ellipsis:
        return origin(read_value(inner[0], each, tell) for each in value)
    if len(value) != len(inner):
        raise FieldError(f"{_short(value)} does not have {len(inner)} values")
    return tuple(read_value(kind, each, tell) for kind, each in zip(inner, value))


def _read_plain(hint: Any, value: Any) -> Any:
    if hint in (int, float):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (hint is int and not isinstance(value, int)):
            raise FieldError(f"{_short(value)} is not a number")
        if not math.isfinite(value) or abs(value) > MAX_NUMBER:
            raise FieldError(f"{_short(value)} is too large")
        return hint(value)
    if not isinstance(value, hint):
        raise FieldError(f"{_short(value)} is not {_WORDS.get(hint, hint.__name__)}")
    return valid_text(value) if isinstance(value, str) else value


_WORDS = {str: "text", bool: "true or false"}


@lru_cache(maxsize=64)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _short(value: object) -> str:
    """A value in at most 60 characters. Not `repr` of the whole: a number can have millions of digits."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    if isinstance(value, dict | list | tuple):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value[:60] if isinstance(value, str | bytes) else value)
    return text if len(text) <= 60 else text[:59] + "…"
