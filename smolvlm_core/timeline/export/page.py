"""One page that plays the clip beside its timeline, from a file and without network. A small clip is in the page itself."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import secrets
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any

from smolvlm_core.files import replacing
from smolvlm_core.text import in_reading_order
from smolvlm_core.timeline.export.content import VERDICTS, Content, original_of, plain
from smolvlm_core.timeline.records import CAPTION, Segment
from smolvlm_core.times import time_text
from smolvlm_core.video.decoders.base import check_cancelled
from smolvlm_core.work.report import Report

TEMPLATE, STYLE, SCRIPT = (Path(__file__).with_name(f"page.{kind}") for kind in ("html.j2", "css", "js"))
MAX_INSIDE_BYTES = 48 << 20  # of a clip: 64 MiB as base64, which browsers still open
MANY_FRAMES = 300  # a page of more takes a while
CHUNK = 3 << 18  # bytes, a multiple of 3
PAGE = "timeline.html"
SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")


def fits_inside(content: Content) -> bool:
    """Whether the clip, if there is one, is small enough to be in the page."""
    return content.clip is None or content.clip.stat().st_size <= MAX_INSIDE_BYTES


def write_page(content: Content, path: Path, report: Report, cancel: threading.Event | None) -> list[str]:
    """A page with the clip in it. Returns what is missing. Raises StoreError, SamplingCancelled."""
    marker = secrets.token_hex(16)  # in no text of others
    with replacing(path) as file:
        for piece in _pieces(content, "none" if content.clip is None else "inside", "", marker, report, cancel):
            before, found, after = piece.partition(marker)
            file.write(before.encode())
            if found and content.clip is not None:
                _write_base64(content.clip, file, report, cancel)
            file.write(after.encode())
    return [_missing(content)] if content.clip is None else []


def write_page_with_clip(content: Content, path: Path, report: Report, cancel: threading.Event | None) -> list[str]:
    """A zip archive of the page and the clip. Returns what is missing. Raises StoreError, SamplingCancelled."""
    name = f"clip{_suffix(content)}"
    entry = zipfile.ZipInfo(PAGE, time.localtime()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        with archive.open(entry, "w", force_zip64=True) as html:
            for piece in _pieces(content, "none" if content.clip is None else "beside", name, "", report, cancel):
                html.write(piece.encode())
        if content.clip is not None:
            size, done = content.clip.stat().st_size, 0
            with content.clip.open("rb") as source, archive.open(name, "w", force_zip64=True) as target:
                while chunk := source.read(CHUNK):
                    check_cancelled(cancel)
                    target.write(chunk)
                    done += len(chunk)
                    report("Copying the clip", done / size)
    return [_missing(content)] if content.clip is None else []


def _write_base64(clip: Path, file: IO[bytes], report: Report, cancel: threading.Event | None) -> None:
    size, done = clip.stat().st_size, 0
    with clip.open("rb") as source:
        while chunk := source.read(CHUNK):
            check_cancelled(cancel)
            file.write(base64.b64encode(chunk))
            done += len(chunk)
            report("Copying the clip", done / max(1, size))


def has_many_frames(content: Content) -> bool:
    return sum(len(segment.frames) for segment in content.leaves) > MANY_FRAMES


def _pieces(
    content: Content, clip: str, address: str, marker: str, report: Report, cancel: threading.Event | None
) -> Iterator[str]:
    """The page, one piece after another: few frames are in memory. `marker`: stands where the clip goes, whole in one piece."""
    style, script = STYLE.read_text("utf-8"), SCRIPT.read_text("utf-8")
    facts = content.timeline.clip.facts
    pieces = _template().generate(
        title=plain(content.timeline.title),
        about=facts.describe() if facts is not None else "A live session",
        notes=[plain(note) for note in content.timeline.notes],
        media={"inside": "blob:", "beside": "'self' file:"}.get(clip, "'none'"),
        clip=clip,
        address=address,
        mime=_mime(content),
        missing=_missing(content),
        offset=facts.start_seconds if facts is not None else 0.0,
        nudge=min(0.01, 0.25 / facts.fps) if facts is not None and facts.fps else 0.01,
        segments=_segments(content, report, cancel),
        found=_found(content),
        made=_made(content),
        style=_raw(style),
        style_hash=_hash(style),
        script=_raw(script),
        script_hash=_hash(script),
        marker=marker,
    )
    for piece in pieces:
        yield in_reading_order(str(piece))


def _segments(content: Content, report: Report, cancel: threading.Event | None) -> Iterator[dict[str, Any]]:
    segments = content.leaves
    for number, segment in enumerate(segments, start=1):
        check_cancelled(cancel)
        yield _segment(content, segment)
        report(f"Segment {number:,} of {len(segments):,}", number / len(segments))


@cache
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text("utf-8"))


def _raw(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # safe: our own files


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _segment(content: Content, segment: Segment) -> dict[str, Any]:
    frames = []
    for position, frame in enumerate(segment.frames):
        if (jpeg := content.thumbnail(segment.identity, position)) is not None:
            uri = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
            frames.append({"start": frame.timestamp_seconds, "name": time_text(frame.timestamp_seconds, 2), "uri": uri})
    return {
        "start": segment.start_seconds,
        "end": segment.end_seconds,
        "range": f"{time_text(segment.start_seconds)} – {time_text(segment.end_seconds)}",
        "frames": frames,
        "answers": [
            _answer(segment, number, question) for number, question in {CAPTION: "", **content.questions}.items()
        ],
        "note": plain(segment.note),
        "notes": [plain(note) for note in segment.notes],
    }


def _answer(segment: Segment, number: int, question: str) -> dict[str, Any]:
    answer = segment.answers.get(number)
    original = original_of(segment, number)
    return {
        "question": plain(question),
        "words": plain(answer.words) if answer is not None else "",
        "error": plain(answer.error) if answer is not None and answer.edited is None else "",
        "original": None if original is None else plain(original) or "No words",
    }


def _found(content: Content) -> list[dict[str, Any]]:
    """The summaries and the moments: a title, and lines with the times they are of."""
    found = []
    for summary in content.summaries:
        lines = [
            {
                "times": [{"start": a, "range": f"{time_text(a)} – {time_text(b)}"} for a, b in statement.ranges],
                "text": plain(statement.text),
                "verdict": VERDICTS[statement.verdict],
            }
            for statement in summary.statements
        ]
        found.append({"title": f"Summary: {plain(summary.question)}", "lines": lines, "none": "Not finished"})
    for curve in content.curves:
        lines = [
            {
                "times": [{"start": moment.seconds, "range": time_text(moment.seconds, 1)}],
                "text": plain(moment.text),
                "verdict": f"{moment.probability:.0%}",
            }
            for moment in curve.moments
        ]
        found.append({"title": f"Moments: {plain(curve.typed)}", "lines": lines, "none": "No such moment"})
    return found


def _made(content: Content) -> list[tuple[str, str]]:
    timeline = content.timeline
    settings, cut = timeline.request.settings, timeline.request.cut
    every = f"every {cut.seconds:g} s" if cut.mode == "fixed" else f"at scene changes, {cut.seconds:g} s at most"
    return [
        ("Model", plain(timeline.model)),
        ("Question", plain(timeline.columns.get(CAPTION, ""))),
        ("Segments", f"{every}; {cut.frames} frames of each, {cut.budget:,} in all"),
        (
            "Settings",
            f"temperature {settings.temperature:g}, {settings.max_new_tokens} new tokens at most, seed {settings.seed}",
        ),
        ("Clip", f"SHA-256 {timeline.clip.sha256}" if timeline.clip.sha256 else "none"),
    ]


def _missing(content: Content) -> str:
    if content.timeline.kind == "live":
        return "A live session has no clip. Its frames are below."
    return "The clip is not there any more. Its frames are below."


def _suffix(content: Content) -> str:
    suffix = Path(content.timeline.clip.name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".mp4"


def _mime(content: Content) -> str:
    """As players want it: Chromium plays .mov as MP4."""
    kind = mimetypes.guess_type(f"a{_suffix(content)}")[0] or "video/mp4"
    return "video/mp4" if kind == "video/quicktime" else kind
