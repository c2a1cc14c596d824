"""A timeline as a file: subtitles, chapters, a table, JSON, Markdown with frames, a page that plays the clip. One module each.

Knows the records of timelines. Does not know the database, jobs or pages.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from smolvlm_core.errors import LensError
from smolvlm_core.files import replacing
from smolvlm_core.timeline.export import as_json, as_markdown, chapters, page, subtitles, table
from smolvlm_core.timeline.export.content import Content
from smolvlm_core.timeline.records import Timeline
from smolvlm_core.work.report import Report

__all__ = ["FORMATS", "Content", "Format", "file_name", "stem_of", "write"]

Make = Callable[[Content], tuple[str, list[str]]]
Write = Callable[[Content, Path, Report, threading.Event | None], list[str]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """`make`: the whole file as text, and notes; for those that have frames or the clip, `write` instead."""

    key: str
    label: str
    suffix: str
    mime: str
    about: str
    make: Make | None = None
    write: Write | None = None
    is_slow: bool = False  # many frames are decoded, or a large file is copied


FORMATS = {
    format.key: format
    for format in (
        Format(
            key="html",
            label="Page with the clip (HTML)",
            suffix=".html",
            mime="text/html",
            about="Plays the clip beside its timeline, in any browser and without network. "
            f"A clip of more than {page.MAX_INSIDE_BYTES >> 20} MB is beside the page, in a zip archive.",
            write=page.write_page,
        ),
        Format(
            key="markdown",
            label="Markdown with frames (zip)",
            suffix=".zip",
            mime="application/zip",
            about="timeline.md, and the frames as JPEG.",
            write=as_markdown.write_markdown,
            is_slow=True,
        ),
        Format(
            key="srt",
            label="Subtitles (SRT)",
            suffix=".srt",
            mime="application/x-subrip",
            about="The descriptions, for any player. Edited ones without the model's own words. Empty ones are left out.",
            make=subtitles.to_srt,
        ),
        Format(
            key="vtt",
            label="Subtitles (WebVTT)",
            suffix=".vtt",
            mime="text/vtt",
            about="The descriptions, for players in web pages. Where you edited them, the model's own words are in notes. Empty ones are "
            "left out.",
            make=subtitles.to_vtt,
        ),
        Format(
            key="chapters",
            label="Chapters (list)",
            suffix=".txt",
            mime="text/plain",
            about="Lines such as “1:02 A dog runs”, for the description of a video on YouTube, which wants three at "
            "least, each of 10 s or more.",
            make=chapters.to_list,
        ),
        Format(
            key="chapters-vtt",
            label="Chapters (WebVTT)",
            suffix=".vtt",
            mime="text/vtt",
            about="For players in web pages.",
            make=chapters.to_vtt_chapters,
        ),
        Format(
            key="ffmetadata",
            label="Chapters (FFmpeg)",
            suffix=".txt",
            mime="text/plain",
            about="To put chapters into the clip with FFmpeg.",
            make=chapters.to_ffmetadata,
        ),
        Format(
            key="csv",
            label="Table (CSV)",
            suffix=".csv",
            mime="text/csv",
            about="One row for each segment, for spreadsheets.",
            make=table.to_csv,
        ),
        Format(
            key="json",
            label="Everything (JSON)",
            suffix=".json",
            mime="application/json",
            about="All that is stored, with frames, prompts, settings and the model's own words.",
            make=as_json.to_json,
        ),
    )
}
ZIP = Format(
    key="html",
    label=FORMATS["html"].label,
    suffix=".zip",
    mime="application/zip",
    about=FORMATS["html"].about,
    write=page.write_page_with_clip,
    is_slow=True,
)


def fitting(format: Format, content: Content) -> Format:
    """The format for this clip: a page whose clip is too large for it is a zip archive; one with many frames is slow."""
    if format.key == "html" and not page.fits_inside(content):
        return ZIP
    return replace(format, is_slow=True) if format.key == "html" and page.has_many_frames(content) else format


def write(
    content: Content,
    format: Format,
    path: Path,
    report: Report = lambda text, fraction: None,
    cancel: threading.Event | None = None,
) -> list[str]:
    """Returns what is left out or missing, in words.

    Raises:
        LensError: there is nothing to export, or `path` cannot be written.
        SamplingCancelled: `cancel` was set. No file is left.
    """
    if not content.segments:
        raise LensError("The timeline has no segments yet.", "Wait until it begins.")
    if format.write is not None:
        return format.write(content, path, report, cancel)
    assert format.make is not None
    text, notes = format.make(content)
    with replacing(path) as file:
        file.write(text.encode())
    return notes


def stem_of(timeline: Timeline) -> str:
    """The beginning of a file's name that any system takes, after the clip."""
    stem = "".join(c for c in Path(timeline.title).stem if c.isalnum() or c in " ._-()")[:60].strip(" .")
    return stem or "timeline"


def file_name(content: Content, format: Format) -> str:
    """After the clip: "walk chapters.txt"."""
    kind = {"chapters": " chapters", "chapters-vtt": " chapters", "ffmetadata": " ffmetadata"}.get(format.key, "")
    return f"{stem_of(content.timeline)}{kind}{format.suffix}"
