"""What one browser session remembers of the Timeline view."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class TimelineSession:
    """`shown`: the Video page shows the timeline instead of the chat. `seek`: where the player has to go once, in seconds, and how
    many times it was told so.
    """

    shown: bool = False
    seek: tuple[float, int] = (0.0, 0)

    def go_to(self, seconds: float) -> None:
        """From the next run of the page. In the browser, an event `lens-seek` does the same (ui/clip/player.js)."""
        self.seek = seconds, self.seek[1] + 1
