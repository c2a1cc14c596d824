"""What one browser session remembers of the Batch page."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from smolvlm_core.batch.request import Request
from smolvlm_core.batch.sidecars import SidecarOptions
from smolvlm_core.work.job import Job
from ui.batch.selection import Selection


@dataclass
class BatchForm:
    """What is typed for a new batch. `paths`: one a line. `uploads`: the name of a folder of uploads.

    `round`: raised to fill the fields from here: new keys are new widgets. `pressed`: Start was pressed, so what is missing is an
    error. `survey`: what is counted, and its job.
    """

    source: str = "On this machine"
    paths: str = ""
    uploads: str = ""
    prompt: str = ""
    json_schema: str = ""
    frame_rule: str = "Model's rule"
    frames: int = 8
    fps: float = 1.0
    scenes: bool = False
    sidecars: bool = False
    sidecar_options: SidecarOptions = field(default_factory=SidecarOptions)
    round: int = 0
    pressed: bool = False
    survey: tuple[Request, Job] | None = None


@dataclass
class BatchSession:
    """The Batch page. `open`: identity of the batch that is shown, "" for the form, None before any choice.

    `selections`: the rows that are selected, by the identity of their batch. `problem`: why the last edit was not saved, to show
    once.
    """

    open: str | None = None
    form: BatchForm = field(default_factory=BatchForm)
    problem: str = ""
    selections: dict[str, Selection] = field(default_factory=lambda: defaultdict(Selection))
