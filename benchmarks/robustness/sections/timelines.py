"""The database of timelines, damaged: its bytes, or a value of one of its rows. Everything that the app reads from it is read, and one
thing is written.
"""

from __future__ import annotations

import random
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.robustness.section import Section, mutated
from benchmarks.robustness.sections.state import ODD, changed
from smolvlm_core.prompt.generation import Stats
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.timeline.records import CAPTION, Answer, Clip, Request, Timeline, leaves
from smolvlm_core.timeline.segments import Piece
from smolvlm_core.timeline.store import FILE, KeptFrame, TimelineStore
from smolvlm_core.video import ClipFacts

COLUMNS = {
    "timelines": ("id", "kind", "clip", "sha256", "request", "created", "model", "notes"),
    "columns": ("timeline", "number", "question"),
    "segments": ("id", "timeline", "start", "stop", "parent", "note", "notes"),
    "frames": ("segment", "position", "seconds", "number", "sha256", "thumbnail", "picture"),
    "answers": ("segment", "number", "text", "edited", "error", "model", "weights", "prompt", "stats", "finished"),
    "documents": ("owner", "kind", "name", "value", "created"),
}


def _timeline(identity: str) -> Timeline:
    clip = Clip(sha256="0" * 64, name="a.mp4", path="/no/a.mp4", facts=ClipFacts(8.0, 64, 48, 10.0, 80))
    return Timeline(
        identity=identity, kind="clip", clip=clip, request=Request(entry="a"), created=1.7e9, columns={CAPTION: "?"}
    )


def _fill(store: TimelineStore, identity: str) -> None:
    store.add(_timeline(identity))
    store.put_segments(identity, [Piece(0, 4), Piece(4, 8), Piece(0, 2, 0), Piece(2, 4, 0)])
    for segment in store.segments(identity):
        store.save_frames(segment.identity, [KeptFrame(ref=FrameRef(0.5, 5, "1" * 64), thumbnail=b"\xff\xd8")])
        store.save_answer(
            segment.identity, CAPTION, Answer(text="A circle moves.", stats=Stats("end"), finished=time.time())
        )
        store.set_note(segment.identity, "look again")
    store.keep(identity, "summary", "a", {"statements": ["A circle moves."]})


@cache
def _whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        store = TimelineStore(Path(folder))
        _fill(store, "one")
        _fill(store, "two")
        store._database._close_all()  # what the log holds is then in the file
        return (Path(folder) / FILE).read_bytes()


class Timelines(Section):
    name, full_count = "timelines", 400

    def case(self, number: int, dice: random.Random) -> tuple[str, Any]:
        """("file", its damaged bytes) or ("row", (table, column, value))."""
        if number % 3 == 0:
            return "file", mutated(_whole(), dice)
        table = dice.choice(list(COLUMNS))
        return "row", (
            table,
            dice.choice(COLUMNS[table]),
            dice.choice([v for v in ODD if not isinstance(v, list | dict)]),
        )

    def start(self, folder: Path) -> None:
        _whole()

    def attempt(self, case: tuple[str, Any], folder: Path) -> str:
        kind, content = case
        (folder / FILE).write_bytes(content if kind == "file" else _whole())
        if kind == "row" and not changed(folder / FILE, *content):
            return "refused by SQLite"
        return _use(folder)


def _use(folder: Path) -> str:
    store = TimelineStore(folder)
    try:
        for timeline in store.all():
            assert timeline.title is not None
            segments = store.segments(timeline.identity)
            for segment in leaves(segments):
                assert segment.caption is not None
                store.thumbnail(segment.identity, 0)
            store.documents(timeline.identity, "summary")
        store.search("circle moves")
        _fill(store, "new")
        assert [s.caption for s in store.segments("new")] == ["A circle moves."] * 4, "a new answer is lost"
        assert any(hit.timeline == "new" for hit in store.search("look again", "new")), "a new note is not found"
        for timeline in store.all():
            store.delete(timeline.identity)
    finally:
        store._database._close_all()
    return "reported" if store.problems() else "used"


SECTION = Timelines()
