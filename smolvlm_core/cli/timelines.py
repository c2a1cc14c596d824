"""What the commands about timelines share: which one a name means, and waiting for a run."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Protocol

from smolvlm_core.cli.terminal import clear_line, status
from smolvlm_core.errors import LensError
from smolvlm_core.timeline.records import Timeline
from smolvlm_core.work.job import Job
from smolvlm_core.workspace import Workspace

FEWEST_CHARACTERS = 4  # of an identity
WAIT_SECONDS = 0.2


class Running(Protocol):
    """A run of a timeline or of a summary."""

    job: Job

    @property
    def is_running(self) -> bool: ...

    @property
    def was_stopped(self) -> bool: ...

    def stop(self) -> None: ...

    def describe(self) -> str: ...


def find_timeline(name: str, workspace: Workspace) -> Timeline:
    """By its identity or the beginning of it, or the newest one of a clip. Raises LensError where there is none, or several."""
    if (found := workspace.timelines.find(name)) is not None:
        return found
    if Path(name).is_file():
        return _newest(name, workspace)
    begin = [timeline for timeline in workspace.timelines.all() if timeline.identity.startswith(name)]
    if len(name) < FEWEST_CHARACTERS or not begin:
        raise LensError(
            f"{name} is neither a clip nor a timeline.", "Use the name that `timeline` prints, or a clip's path."
        )
    if len(begin) > 1:
        raise LensError(f"{len(begin)} timelines begin with {name!r}.", "Write more of the name.")
    return begin[0]


def _newest(path: str, workspace: Workspace) -> Timeline:
    from smolvlm_core.timeline.clips import clip_of_file

    found = workspace.timelines.of_clip(clip_of_file(Path(path)).sha256)
    if not found:
        raise LensError(f"{path} has no timeline yet.", f"Run `timeline {path}` first.")
    if len(found) > 1:
        others = ", ".join(timeline.identity for timeline in found[1:])
        print(f"note: the newest of {len(found)} timelines of this clip; the others: {others}", file=sys.stderr)
    return found[0]


def wait(run: Running) -> bool:
    """Until the run ends. True where Ctrl-C ended it."""

    def stop(number: int, frame: FrameType | None) -> None:
        run.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        while run.is_running:
            status(run.describe())
            run.job.wait(WAIT_SECONDS)
    finally:
        signal.signal(signal.SIGINT, before)
        clear_line()
    return run.was_stopped
