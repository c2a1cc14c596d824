"""What one browser session remembers of the Live page."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LiveForm:
    """What is chosen for a new session.

    `clip`: the path or SHA-256 of the chosen clip. `uploaded`: SHA-256 and name of clips that were added here. `alerts`: one question
    a line. `round`: raised to fill the fields from here: new keys are new widgets.
    """

    source: str = "Camera"
    clip: str = ""
    uploaded: dict[str, str] = field(default_factory=dict)
    address: str = ""
    question: str | None = None  # None before any choice
    alerts: str = ""
    on_change: bool = False
    change_percent: float = 2.0
    rise_percent: int = 70
    reset_percent: int = 40
    quiet_seconds: int = 10
    full_detail: bool = False
    max_new_tokens: int = 64
    minutes: int = 60
    round: int = 0


@dataclass
class LivePage:
    """`token`: the camera of this tab sends with it; "" where it does not send. `seen`: the session whose alerts were shown as toasts,
    and how many. `open`: identity of the earlier session that is shown, "" for none."""

    form: LiveForm = field(default_factory=LiveForm)
    token: str = ""
    seen: tuple[str, int] = ("", 0)
    open: str = ""
    camera_problem: str = ""
