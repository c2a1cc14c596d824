"""What a timeline is made of. Plain data: does not know files, databases, backends or pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.times import Range
from smolvlm_core.video import ClipFacts

Kind = Literal["clip", "live"]
CutMode = Literal["scenes", "fixed"]
DESCRIBE = "Describe what happens."
CAPTION = 0  # the number of the column with the descriptions
MAX_COLUMNS = 32
MAX_FRAMES = 64  # of a segment


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a clip is cut into segments, and how many frames the model is shown.

    Attributes:
        mode: at changes of the picture, or every `seconds`.
        seconds: how long a segment is, at most. It can be longer where the budget does not reach.
        frames: shown of each segment.
        budget: frames that are shown in all.

    Raises:
        ValueError: a value is outside its range.
    """

    mode: CutMode = "scenes"
    seconds: float = 10.0
    frames: int = 4
    budget: int = 480

    def __post_init__(self) -> None:
        if not 0.5 <= self.seconds <= 3600:
            raise ValueError(f"seconds is {self.seconds}; 0.5 to 3600 is allowed")
        if not 1 <= self.frames <= MAX_FRAMES:
            raise ValueError(f"frames is {self.frames}; 1 to {MAX_FRAMES} is allowed")
        if not self.frames <= self.budget <= 100_000:
            raise ValueError(f"budget is {self.budget}; {self.frames} (the frames of one segment) to 100000 is allowed")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for, as it is stored, so that it can go on later.

    `entry`: key of a backend in the registry, `precision` of its weights. `prompt`: asked of each segment. `columns`: further
    questions. `segments_of`: the timeline whose segments are used, to compare two; "" to cut the clip anew.
    """

    entry: str
    precision: str = ""
    prompt: str = DESCRIBE
    columns: tuple[str, ...] = ()
    settings: GenerationSettings = field(default_factory=lambda: GenerationSettings(max_new_tokens=96))
    cut: Cut = field(default_factory=Cut)
    segments_of: str = ""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The file that a timeline is about. `path`: where it was, and when it last changed; it can be gone. `facts`: None for a live session."""

    sha256: str
    name: str
    path: str = ""
    modified_ns: int = 0
    facts: ClipFacts | None = None


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """`identity` is a file name. `created`: seconds since 1970. `model`: the backend's name. `notes`: what was lost or unusual.

    `columns`: the questions by number; `columns[CAPTION]` is the description.
    """

    identity: str
    kind: Kind
    clip: Clip
    request: Request
    created: float
    model: str = ""
    columns: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.clip.name


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said about a segment.

    Attributes:
        text: the model's words. They stay when a person edits them.
        edited: what a person made of them; None where nobody did.
        error: why there is no answer, as a sentence; "" where there is one.
        model, weights: the backend's name, and which weights answered.
        prompt: the exact text that the model was given, with a mark for each frame.
        finished: seconds since 1970.
    """

    text: str = ""
    edited: str | None = None
    error: str = ""
    model: str = ""
    weights: str = ""
    prompt: str = ""
    stats: Stats | None = None
    finished: float = 0.0

    @property
    def words(self) -> str:
        """The answer, or what a person made of it."""
        return self.text if self.edited is None else self.edited


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a clip, from its first frame up to the first frame of the next one.

    Attributes:
        identity: unique in the data folder.
        parent: the longer segment that this one refines; None where there is none.
        frames: those that the model was shown, with the SHA-256 of their PNG. Empty until the segment is asked about.
        answers: by the number of their column. A column without an answer is not asked yet.
        note: a person's own.
        notes: what was lost while the frames were decoded.
    """

    identity: int
    start_seconds: float
    end_seconds: float
    parent: int | None = None
    frames: tuple[FrameRef, ...] = ()
    answers: dict[int, Answer] = field(default_factory=dict)
    note: str = ""
    notes: tuple[str, ...] = ()

    @property
    def range_seconds(self) -> Range:
        return self.start_seconds, self.end_seconds

    @property
    def caption(self) -> str:
        """The description; "" where there is none yet."""
        answer = self.answers.get(CAPTION)
        return answer.words if answer is not None else ""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A place where a search found something. `column`: None for a note. `excerpt`: with `MARK` around what matches."""

    timeline: str
    segment: int
    column: int | None
    excerpt: str


MARK = ("\ue000", "\ue001")  # around what matches: in no alphabet, so a page can replace them safely


def leaves(segments: list[Segment]) -> list[Segment]:
    """Those that no other refines, by time: together they are the clip, each moment once."""
    parents = {segment.parent for segment in segments}
    found = [segment for segment in segments if segment.identity not in parents]
    return sorted(found, key=lambda segment: (segment.start_seconds, segment.identity))
