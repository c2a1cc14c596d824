"""How long a server may take. Stored with each server, since a slow one across the world is not a fast one next door."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smolvlm_core.backends.base import REMOTE, Entry, Status
from smolvlm_core.errors import BackendError

CONNECT_SECONDS = 10.0
FIRST_BYTE_SECONDS = 600.0  # a long prompt on a slow machine, or a model that must be loaded first
SILENCE_SECONDS = 300.0
PROBE_SECONDS = 10.0  # for what a server says of itself
LEAST_SECONDS, MOST_SECONDS = 0.05, 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds.

    Attributes:
        connect_seconds: until there is a connection.
        first_byte_seconds: from then until the answer begins. Headers are not the beginning: some servers send them at once.
        silence_seconds: between two lines of the answer. Half a line is silence, too.

    Raises:
        BackendError: one is not a number of seconds in the allowed range.
    """

    connect_seconds: float = CONNECT_SECONDS
    first_byte_seconds: float = FIRST_BYTE_SECONDS
    silence_seconds: float = SILENCE_SECONDS

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            usable = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
            if not usable or not LEAST_SECONDS <= value <= MOST_SECONDS:
                raise BackendError(
                    f"{name} of a server is {str(value)[:40]!r}; {LEAST_SECONDS} to {MOST_SECONDS:.0f} is allowed.",
                    "Add the server again with other timeouts.",
                )

    @property
    def of_probes(self) -> Timeouts:
        """For small requests, whose whole answer must be there in time."""
        return Timeouts(
            connect_seconds=min(self.connect_seconds, PROBE_SECONDS),
            first_byte_seconds=min(self.first_byte_seconds, PROBE_SECONDS),
        )

    def describe(self) -> str:
        connect, first, silence = self.connect_seconds, self.first_byte_seconds, self.silence_seconds
        return f"Timeouts: connect {connect:g} s, first byte {first:g} s, silence {silence:g} s"

    @property
    def status(self) -> Status:
        """Of a remote backend."""
        return Status(state="remote", text=f"{REMOTE}. {self.describe()}")


@dataclass(frozen=True, kw_only=True)
class TimedEntry(Entry):
    """An entry with timeouts. Lists stored by earlier versions lack them and get the defaults."""

    connect_seconds: float = CONNECT_SECONDS
    first_byte_seconds: float = FIRST_BYTE_SECONDS
    silence_seconds: float = SILENCE_SECONDS

    @property
    def timeouts(self) -> Timeouts:
        """Raises BackendError for values that are no timeouts."""
        return Timeouts(
            connect_seconds=self.connect_seconds,
            first_byte_seconds=self.first_byte_seconds,
            silence_seconds=self.silence_seconds,
        )
