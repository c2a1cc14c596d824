"""Descriptions as subtitles: SRT and WebVTT."""

from __future__ import annotations

import re

from smolvlm_core.timeline.export.content import Content, left_out, one_line, original_of
from smolvlm_core.timeline.export.cues import Cue, clock, cues_of
from smolvlm_core.timeline.records import CAPTION

JOINER = "\u2060"  # no width: what follows is no longer read as markup
# Players read tags, entities and {...} in SRT, which has no way to escape them.
_SRT_MARKUP = re.compile(r"(--)(?=>)|(<)(?=[\w/!?])|(&)(?=#?\w+;)")
_SRT_BRACKETS = str.maketrans("{}", "｛｝")  # players take text between curly brackets for commands, and hide it


def to_srt(content: Content) -> tuple[str, list[str]]:
    """(the file, what is left out). Edited descriptions only: SRT has no place for the model's own words."""
    blocks = [
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{_srt_text(cue)}\n"
        for number, cue in enumerate(cues_of(content.leaves), start=1)
    ]
    notes = left_out(content.leaves)
    if any(original_of(segment, CAPTION) is not None for segment in content.leaves):
        notes.append("SRT has no place for the model's own words where you edited them")
    return "\n".join(blocks), notes


def _srt_text(cue: Cue) -> str:
    return "\n".join(
        _SRT_MARKUP.sub(lambda found: f"{found[0]}{JOINER}", line.translate(_SRT_BRACKETS)) for line in cue.lines
    )


def to_vtt(content: Content) -> tuple[str, list[str]]:
    """(the file, what is left out). Where a description was edited, the model's words are in a note before it."""
    head = ["WEBVTT", note(f"{content.timeline.title}\nDescribed by {content.timeline.model or 'an unknown model'}")]
    blocks = []
    for number, cue in enumerate(cues_of(content.leaves), start=1):
        if (original := original_of(cue.segment, CAPTION)) is not None:
            blocks.append(note(f"{number}, the model's words: {original}"))
        text = "\n".join(map(escaped, cue.lines))
        blocks.append(f"{number}\n{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{text}")
    return "\n\n".join([*head, *blocks]) + "\n", left_out(content.leaves)


def note(text: str) -> str:
    """A comment, which no player shows. Source: W3C WebVTT, 4.1."""
    return f"NOTE {escaped(one_line(text))}"


def escaped(text: str) -> str:
    """Text of a cue: nothing in it is markup or ends the cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
