"""A list of frames with what the model said about each, and a list of alerts. A click on a frame opens it as the model was given it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import streamlit as st

from smolvlm_core.errors import LensError
from smolvlm_core.live.log import answer_text, picture_of
from smolvlm_core.live.records import AlertEvent, Entry
from smolvlm_core.prompt.generation import Stats
from smolvlm_core.timeline.records import Segment, Timeline
from smolvlm_core.timeline.store import TimelineStore
from smolvlm_core.times import time_text
from ui.pictures import script
from ui.pictures.shown import unsaved_later
from ui.state import workspace

_FOLDER = Path(__file__).parent
_css, _js = ((_FOLDER / f"entries.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
_component = st.components.v2.component("live_entries", html="<ol></ol>", css=_css, js=_js)


def draw(key: str, label: str, items: Sequence[dict[str, Any]]) -> None:
    """`label`: names the list for screen readers. `items`: what the functions below make."""
    _component(key=key, data={"label": label, "items": list(items), "viewer": script.url()})


def of_entry(entry: Entry, alerts: Container[str]) -> dict[str, Any]:
    """A frame of a session of this process. `alerts`: the questions that can set one off."""
    stats = [answer.stats for answer in entry.answers if answer.stats is not None]
    facts = [time_text(entry.seconds, 1), f"{entry.latency_seconds:.2f} s from frame to answer"]
    if entry.skipped:
        facts.append(f"{entry.skipped:,} skipped before it")
    if entry.unchanged:
        facts.append(f"{entry.unchanged:,} unchanged before it")
    if entry.changed is not None:
        facts.append(f"{entry.changed:.0%} changed")
    return {
        "picture": _picture(entry.segment, entry.sha256, entry.seconds, entry.width, entry.height),
        "answer": next((a.text for a in entry.answers if a.question not in alerts and not a.error), ""),
        "answers": [
            {"question": a.question, "text": answer_text(a) if a.yes is not None else f"{a.text} (neither yes nor no)"}
            for a in entry.answers
            if a.question in alerts and not a.error
        ],
        "error": next((a.error for a in entry.answers if a.error), ""),
        "facts": " · ".join([*facts, *_tokens(stats)]),
        "event": bool(entry.events),
    }


def of_event(event: AlertEvent) -> dict[str, Any]:
    return {
        "picture": _picture(event.segment, event.sha256, event.seconds, event.width, event.height),
        "answer": "",
        "answers": [{"question": event.question, "text": f"Yes, {event.yes:.0%}"}],
        "error": "",
        "facts": f"At {time_text(event.seconds, 1)} · {_clock(event.when)}",
        "event": True,
    }


def of_segment(segment: Segment, timeline: Timeline, events: set[int]) -> dict[str, Any]:
    """A frame of an earlier session. `events`: the numbers of the segments that set off an alert."""
    frame = segment.frames[0] if segment.frames else None
    several = len(timeline.columns) > 1  # then each answer has its question: the first one can be an alert's, too
    first = None if several else segment.answers.get(0)
    others = [(column, answer) for column, answer in sorted(segment.answers.items()) if several or column]
    stats = [answer.stats for answer in segment.answers.values() if answer.stats is not None]
    return {
        "picture": _picture(segment.identity, frame.sha256, segment.start_seconds, *size_of(segment.identity))
        if frame
        else None,
        "answer": first.words if first is not None else "",
        "answers": [{"question": timeline.columns.get(c, ""), "text": a.words} for c, a in others if not a.error],
        "error": next((a.error for a in segment.answers.values() if a.error), ""),
        "facts": " · ".join([time_text(segment.start_seconds, 1), *_tokens(stats)]),
        "event": segment.identity in events,
    }


def _tokens(stats: Sequence[Stats]) -> list[str]:
    if not stats:
        return []
    return [f"{sum(s.prompt_tokens for s in stats):,} + {sum(s.new_tokens for s in stats):,} tokens"]


def _clock(when: float) -> str:
    return f"{datetime.fromtimestamp(when):%Y-%m-%d %H:%M:%S}"


def size_of(segment: int) -> tuple[int, int]:
    """(width, height) of the frame of a segment, in pixels; (1, 1) where it is gone."""
    return _size_in(workspace().timelines.store, segment)


@lru_cache(maxsize=4096)
def _size_in(store: TimelineStore, segment: int) -> tuple[int, int]:
    """Read once: the page is drawn again with every click."""
    try:
        return picture_of(store, segment).size
    except LensError:
        return 1, 1


def _picture(segment: int | None, sha256: str, seconds: float, width: int, height: int) -> dict[str, Any] | None:
    """For the viewer; None where the frame could not be stored."""
    if segment is None:
        return None
    label = f"Frame at {time_text(seconds, 1)}"
    store = workspace().timelines.store
    return unsaved_later(partial(picture_of, store, segment), label, sha256, (width, height)).data()
