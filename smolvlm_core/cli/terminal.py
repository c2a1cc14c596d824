"""Argument types and the status line that all commands share. Does not know any command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from smolvlm_core.text import printable
from smolvlm_core.times import Range, TimeError, parse_range


class Parser(argparse.ArgumentParser):
    """`invalid_arguments`: the exit code for invalid arguments."""

    invalid_arguments = 2

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.invalid_arguments, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too small: the minimum is 1")
    return value


def port(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} is not a port: 1 to 65535")
    return value


def time_range(text: str) -> Range:
    try:
        return parse_range(text)
    except TimeError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Printable:
    """A stream that shows control characters instead of obeying them: a model's answer cannot rewrite a terminal.

    A carriage return at the beginning of what is written stays: progress bars of libraries begin with it.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        begin = "\r" if text.startswith("\r") else ""
        self.stream.write(begin + printable(text[len(begin) :]))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """What is printed meanwhile has no control characters but ours."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Printable(sys.stdout), Printable(sys.stderr)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _on_this_line(text: str) -> None:
    """Takes the place of the line that the cursor is on, in a terminal."""
    if sys.stderr.isatty():
        terminal = sys.stderr.stream if isinstance(sys.stderr, Printable) else sys.stderr
        print(f"\r\033[K{printable(text)}", end="", file=terminal, flush=True)


def status(text: str) -> None:
    _on_this_line(text)


def status_with_fraction(text: str, fraction: float | None) -> None:
    """`fraction`: 0 to 1, or None if unknown."""
    status(text if fraction is None else f"{text}: {fraction:.0%}")


def clear_line() -> None:
    _on_this_line("")
