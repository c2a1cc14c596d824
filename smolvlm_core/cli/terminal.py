"""Argument types and the status line that all commands share. Does not know any command."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


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


def status(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def status_with_fraction(text: str, fraction: float | None) -> None:
    """`fraction`: 0 to 1, or None if unknown."""
    status(text if fraction is None else f"{text}: {fraction:.0%}")


def clear_line() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
