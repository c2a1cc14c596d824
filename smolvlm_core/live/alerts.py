"""Alerts: a question with the answer yes or no, and when its answers count as an event. Pure: knows no model and no clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Alert:
    """Tell me when the answer is yes.

    Attributes:
        question: to be answered with yes or no.
        rise: the probability of yes from which it is an event.
        reset: the probability at which it can become an event again. Below `rise`, so that an answer that wavers gives one event.
        quiet_seconds: from one event to the next, at least.

    Raises:
        ValueError: a value is outside its range.
    """

    question: str
    rise: float = 0.7
    reset: float = 0.4
    quiet_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.reset <= self.rise <= 1:
            raise ValueError(f"reset is {self.reset} and rise {self.rise}; 0 <= reset <= rise <= 1 is needed")
        if not 0 <= self.quiet_seconds <= 86_400:
            raise ValueError(f"quiet_seconds is {self.quiet_seconds}; 0 to 86400 is allowed")


class Trigger:
    """Decides which answers to an alert's question are events."""

    def __init__(self, alert: Alert) -> None:
        self.alert = alert
        self._armed = True
        self._last: float | None = None

    def is_event(self, probability: float, seconds: float) -> bool:
        """`probability` of yes, 0 to 1. `seconds`: the time of the frame. Where it goes back, the quiet time is longer by that much."""
        alert = self.alert
        if probability <= alert.reset and probability < alert.rise:
            self._armed = True
        if not self._armed or probability < alert.rise:
            return False
        if self._last is not None and seconds - self._last < alert.quiet_seconds:
            return False
        self._armed, self._last = False, seconds
        return True
