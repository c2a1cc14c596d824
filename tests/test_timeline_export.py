"""Timelines as files for others to read: whatever a model or a person wrote, each is valid and shows just that."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import threading
import zipfile
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import av
import jsonschema
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from smolvlm_core import cli, media
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import FrameRef
from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.downloads import Downloads
from smolvlm_core.timeline.export import FORMATS, ZIP, Content, as_markdown, file_name, fitting, page, write
from smolvlm_core.timeline.export.cues import clock, cues_of
from smolvlm_core.timeline.export.stored import content_of
from smolvlm_core.timeline.export.subtitles import JOINER
from smolvlm_core.timeline.moments.curve import Curve, Moment
from smolvlm_core.timeline.records import DESCRIBE, Answer, Clip, Request, Segment, Timeline
from smolvlm_core.timeline.segments import Piece
from smolvlm_core.timeline.store import KeptFrame
from smolvlm_core.timeline.summary.records import Plan, Source, Statement, Summary
from smolvlm_core.video import sample_clip
from smolvlm_core.video.decoders import SamplingCancelled
from smolvlm_core.workspace import Workspace
from tests.clips import number_in, write_numbered

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "timeline.schema.json"
HOSTILE = [
    '</script><script>document.title="owned"</script>',
    "a --> b\n\n2\n00:00:00,000 --> 00:00:09,000\nFake",
    '=cmd|"/C calc"!A0',
    r"<b>bold</b> & <i>it</i> {\an8}top &lt;x&gt;",
    "\u202eevil\u202c text 😀 日本語",
    " \n\t\n",
    "line one\r\nline two\x00\x07 \ud800",
    "<img src=x onerror=alert(1)> ![x](http://evil.example/x.png)",
    "WEBVTT\n\nNOTE\n\nSTYLE\n\n@@clip@@ {{ 1 + 1 }}",
]
SHOWN = [
    [HOSTILE[0]],
    ["a --> b", "2", "00:00:00,000 --> 00:00:09,000", "Fake"],
    ["A person’s words --> & <u>"],
    [r"<b>bold</b> & <i>it</i> {\an8}top &lt;x&gt;"],
    ["\ufffdevil\ufffd text 😀 日本語"],
    ["line one", "line two\ufffd\ufffd \ufffd"],
    [HOSTILE[7]],
    ["WEBVTT", "NOTE", "STYLE", "@@clip@@ {{ 1 + 1 }}"],
]  # without the one that is empty


def segment(number: int, start: float, end: float, text: str, **more: object) -> Segment:
    return replace(
        Segment(identity=number, start_seconds=start, end_seconds=end, answers={0: Answer(text=text, model="toy")}),
        **more,
    )


def hostile(seconds: float = 2.0) -> Content:
    """One segment for each text; the third is edited."""
    segments = [segment(n, n * seconds, (n + 1) * seconds, text) for n, text in enumerate(HOSTILE)]
    edited = replace(segments[2].answers[0], edited="A person’s words --> & <u>")
    other = Answer(error="=It failed. <b>")
    segments[2] = replace(segments[2], answers={0: edited, 1: other}, note="@note </style>\n-1", notes=("--> lost",))
    timeline = Timeline(
        identity="a" * 24,
        kind="clip",
        clip=Clip(sha256="", name="=walk <b>.mp4"),
        request=Request(entry="toy"),
        created=1.0,
        model="toy --> model",
        columns={0: DESCRIBE, 1: "=Who </script>?"},
    )
    return Content(timeline=timeline, segments=tuple(segments))


def written(content: Content, key: str, path: Path) -> str:
    write(content, FORMATS[key], path)
    return path.read_text("utf-8")


@pytest.mark.parametrize("key", ["srt", "vtt", "chapters-vtt"])
def test_ffmpeg_reads_the_subtitles_as_they_were_written(tmp_path: Path, key: str) -> None:
    path = tmp_path / f"a.{key[-3:]}"
    written(hostile(3600.5), key, path)  # the last ones after more than four hours
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        texts = [bytes(packet.decode()[0].dialogue).decode().replace(JOINER, "") for packet in packets]
    wanted = [number for number, text in enumerate(HOSTILE) if text.strip() or key == "chapters-vtt"]
    assert [float(p.pts * p.time_base) for p in packets] == [n * 3600.5 for n in wanted]
    assert {float(p.duration * p.time_base) for p in packets} == {3600.5}
    if key == "srt":
        assert texts == ["\n".join(lines).replace("{", "｛").replace("}", "｝") for lines in SHOWN]
    elif key == "vtt":
        braces = [text.replace("\\\\", "{\\").replace("{{", "{") for text in texts]  # FFmpeg writes them its own way
        assert [re.sub(r"[{}\\]", "", t) for t in braces] == [re.sub(r"[{}\\]", "", "\n".join(s)) for s in SHOWN]
    else:
        assert texts[5] == "Part 6" and texts[1].startswith("a --> b 2 00:00:00,000 --> 00:00:09,000 Fake")


def test_cues_are_valid_whatever_the_segments_are() -> None:
    odd = [
        segment(1, 5.0, 5.0, "no length"),
        segment(2, 5.0, 9.0, "the same start"),
        segment(3, 0.0, 7.0, "over the others"),
        segment(4, 9.0004, 9.0001, "ends before it starts"),
        segment(5, 9.002, 360_000.0, "a hundred hours"),
        segment(6, -1.0, -0.5, "before the clip"),
        segment(7, 20.0, 21.0, " "),
    ]
    cues = cues_of(odd)
    assert len(cues) == 6
    assert all(0 <= cue.start < cue.end for cue in cues)
    assert all(a.end <= b.start for a, b in pairwise(cues))
    assert clock(cues[-1].end, ",") == "100:00:00,000"
    assert cues_of([]) == []


def test_what_a_person_changed_stays_beside_the_models_words(tmp_path: Path) -> None:
    content = hostile()
    vtt = written(content, "vtt", tmp_path / "a")
    assert 'NOTE 3, the model\'s words: =cmd|"/C calc"!A0\n\n3\n' in vtt
    assert vtt.count("-->") == len(SHOWN) and "\n\n\n" not in vtt
    notes = write(content, FORMATS["srt"], tmp_path / "a")
    assert notes[0] == "1 segment has no description and is left out" and "SRT has no place" in notes[1]
    rows = list(csv.DictReader(io.StringIO(written(content, "csv", tmp_path / "a").removeprefix("\ufeff"))))
    assert (rows[2]["Description"], rows[2]["Description (model)"]) == ("A person’s words --> & <u>", "'" + HOSTILE[2])
    row = json.loads(written(content, "json", tmp_path / "a"))["segments"][2]["answers"][0]
    assert (row["words"], row["text"], row["edited"]) == ("A person’s words --> & <u>", HOSTILE[2], row["words"])


def test_no_cell_of_the_table_is_a_formula(tmp_path: Path) -> None:
    table = written(hostile(), "csv", tmp_path / "a").removeprefix("\ufeff")
    rows = list(csv.reader(io.StringIO(table)))
    assert len(rows) == 1 + len(HOSTILE) and len({len(row) for row in rows}) == 1
    assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r\n")]
    assert "\u202e" not in table and "\x00" not in table and "'=Who </script>?" in rows[0]


def test_the_json_follows_its_schema(tmp_path: Path) -> None:
    frames = (FrameRef(0.5, 5, "ab" * 32),)
    content = hostile()
    content = replace(content, segments=(*content.segments, segment(99, 0, 1, "x", parent=0, frames=frames)))
    value = json.loads(written(content, "json", tmp_path / "a"))
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema)
    assert value["segments"][-1]["frames"] == [{"timestamp_seconds": 0.5, "frame_index": 5, "sha256": "ab" * 32}]
    assert "path" not in value["clip"], "names of folders stay here"


def test_chapters_are_the_longest_segments(tmp_path: Path) -> None:
    segments = (
        segment(1, 0.0, 1800.0, "A dog runs. It is happy."),
        segment(2, 1800.0, 3600.4, "x" * 200),
        segment(3, 3600.4, 7300.0, "=;#\\ <all> of ffmetadata's marks"),
        segment(4, 0.0, 900.0, "finer", parent=1),
    )
    content = replace(hostile(), segments=segments)
    lines = written(content, "chapters", tmp_path / "a").splitlines()
    assert lines[0] == "0:00:00 A dog runs" and lines[2].startswith("1:00:00 =;#\\ ‹all› of")
    assert len(lines) == 3 and lines[1].endswith("…") and len(lines[1]) == len("0:30:00 ") + 100
    written(content, "ffmetadata", tmp_path / "a.txt")
    with av.open(str(tmp_path / "a.txt"), format="ffmetadata") as container:
        found = container.chapters()
    assert [(c["start"], c["end"]) for c in found] == [(0, 1_800_000), (1_800_000, 3_600_400), (3_600_400, 7_300_000)]
    assert found[2]["metadata"]["title"] == "=;#\\ <all> of ffmetadata's marks"
    assert write(replace(content, segments=segments[:1]), FORMATS["chapters"], tmp_path / "a") == [
        "YouTube shows chapters from 3 on; there are 1"
    ]


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_has_no_markup_of_others(tmp_path: Path) -> None:
    text = written(hostile(), "html", tmp_path / "a.html")
    tags = Read(text).tags
    assert [tag for tag, _ in tags].count("script") == 1 and not [
        tag for tag, _ in tags if tag in ("img", "b", "iframe", "link")
    ]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in text and "unsafe" not in text.split("<title>")[0] and "\u202e" not in text
    assert text.count("</html>") == 1 and text.rstrip().endswith("</html>")


@pytest.fixture
def stored(workspace: Workspace, tmp_path: Path) -> tuple[Workspace, Timeline]:
    """A timeline of a real clip of 9 s, with two frames of each second, in the data folder."""
    path = write_numbered(tmp_path / "walk.mp4", 90)
    assert isinstance(path, Path)
    timeline = replace(hostile().timeline, clip=clip_of_file(path))
    store = workspace.timelines.store
    store.add(timeline)
    store.put_segments(timeline.identity, [Piece(float(n), n + 1.0, None) for n in range(9)])
    for found, text in zip(workspace.timelines.segments(timeline.identity), HOSTILE):
        frames = sample_clip(path, 2, (found.start_seconds, found.end_seconds - 0.05)).frames
        kept = [
            KeptFrame(
                ref=FrameRef(frame.timestamp_seconds, frame.frame_index, "ab" * 32),
                thumbnail=media.jpeg_bytes(media.thumbnail(frame.image, 64)),
            )
            for frame in frames
        ]
        store.save_frames(found.identity, kept)
        store.save_answer(found.identity, 0, Answer(text=text))
    return workspace, timeline


def test_markdown_has_the_frames_of_the_clip(stored: tuple[Workspace, Timeline], tmp_path: Path) -> None:
    workspace, timeline = stored
    content = content_of(workspace.timelines, timeline)
    assert write(content, FORMATS["markdown"], tmp_path / "a.zip") == []
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        text = archive.read("timeline.md").decode()
        pictures = {
            name: Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist() if name != "timeline.md"
        }
    assert len(pictures) == 18
    for name, picture in pictures.items():
        seconds = float(name.rsplit("-", 1)[1].removesuffix("s.jpg"))
        assert picture.size == (160, 96) and number_in(picture) == round(seconds * 10)
    tokens = MarkdownIt("commonmark", {"html": True}).parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert {str(t.attrs["src"]) for t in inline if t.type == "image"} == set(pictures), (
        "its own pictures, and no others"
    )
    assert not [t for t in (*tokens, *inline) if t.type in ("html_block", "html_inline")]
    assert [t.tag for t in tokens if t.type == "heading_open"].count("h2") == 9
    Path(timeline.clip.path).unlink()
    notes = write(content_of(workspace.timelines, timeline), FORMATS["markdown"], tmp_path / "b.zip")
    assert notes == ["the clip is not there any more: 18 frames are small pictures"]


def test_a_large_clip_is_beside_the_page(
    stored: tuple[Workspace, Timeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, timeline = stored
    content = content_of(workspace.timelines, timeline)
    assert page.fits_inside(content) and file_name(content, FORMATS["html"]) == "walk.html"
    write(content, ZIP, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("clip.mp4") == Path(timeline.clip.path).read_bytes()
        assert 'src="clip.mp4"' in archive.read("timeline.html").decode()
    monkeypatch.setattr(page, "MAX_INSIDE_BYTES", 100)
    command = ["timeline-export", timeline.clip.path, "--format", "html", "--out"]
    assert cli.main([*command, str(tmp_path / "b.html")]) == 1 and not (tmp_path / "b.html").exists()
    assert cli.main([*command, str(tmp_path / "b.zip")]) == 0


def test_the_command_finds_timelines(
    stored: tuple[Workspace, Timeline], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, timeline = stored
    assert cli.main(["timeline-export", "aaaa", "--format", "vtt"]) == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n")
    assert cli.main(["timeline-export", timeline.clip.path, "--format", "csv", "--out", str(tmp_path / "a.csv")]) == 0
    assert (tmp_path / "a.csv").read_text("utf-8").count("'=cmd") == 2
    assert cli.main(["timeline-export", "bbbb", "--format", "csv"]) == 1
    with pytest.raises(SystemExit):
        cli.main(["timeline-export", "aaaa", "--format", "markdown"])
    with pytest.raises(LensError, match="no segments"):
        write(replace(hostile(), segments=()), FORMATS["srt"], tmp_path / "b.srt")


def test_summaries_and_moments_are_exported(stored: tuple[Workspace, Timeline], tmp_path: Path) -> None:
    workspace, timeline = stored
    source = Source(segment=1, start_seconds=1.0, end_seconds=2.0)
    statement = Statement(text="A <b>dog</b> runs.", sources=(source,), verdict="unsupported")
    plan = Plan(context_tokens=1, answer_tokens=1, counted=True, tokens=1, groups=())
    summary = Summary(question="What?", timeline=timeline.identity, plan=plan, statements=(statement,))
    moment = Moment(
        kind="begins", seconds=1.5, before_seconds=1.0, until_seconds=2.0, probability=0.98, text="appears <i>"
    )
    curve = Curve(typed="a dog", asked="Is there?", interval_seconds=1.0, duration_seconds=2.0, moments=(moment,))
    workspace.timelines.keep(timeline.identity, "summary", "What?", asdict(summary))
    workspace.timelines.keep(timeline.clip.sha256, "curve", "a dog", curve.as_row())
    content = content_of(workspace.timelines, timeline)
    value = json.loads(written(content, "json", tmp_path / "a.json"))
    jsonschema.validate(value, json.loads(SCHEMA.read_text("utf-8")))
    assert value["summaries"][0]["statements"][0]["verdict"] == "unsupported"
    assert value["moments"][0]["moments"][0]["seconds"] == 1.5
    document = as_markdown.to_markdown(content, {})
    assert "runs" in document and "Not supported by its frames" in document and "0:01.5 appears" in document
    shown = written(content, "html", tmp_path / "a.html")
    assert "A &lt;b&gt;dog&lt;/b&gt; runs." in shown and "Not supported by its frames" in shown
    assert 'data-start="1.0"' in shown and 'data-start="1.5">0:01.5</button>' in shown and "appears &lt;i&gt;" in shown


def test_a_long_page_is_slow_and_stops_between_segments(tmp_path: Path) -> None:
    read, cancel = [], threading.Event()

    def thumbnail(segment: int, position: int) -> bytes:
        read.append(segment)
        cancel.set()
        return b"jpeg"

    frames = tuple(FrameRef(n / 100, n, "ab" * 32) for n in range(100))
    segments = tuple(segment(n, n, n + 1, "x", frames=frames) for n in range(4))
    content = replace(hostile(), segments=segments, thumbnail=thumbnail)
    assert fitting(FORMATS["html"], content).is_slow and not fitting(FORMATS["html"], hostile()).is_slow
    with pytest.raises(SamplingCancelled):
        write(content, FORMATS["html"], tmp_path / "a.html", cancel=cancel)
    assert set(read) == {0} and not (tmp_path / "a.html").exists()


def test_files_wait_in_the_data_folder_for_their_timeline_alone(stored: tuple[Workspace, Timeline]) -> None:
    workspace, timeline = stored
    downloads = workspace.timelines.downloads
    for name in ("old.zip", "a b.zip"):
        downloads.place("one-export", name).write_bytes(b"x")
    assert downloads.find("one-export", "a b.zip") is not None and downloads.find("one-export", "old.zip") is None
    for owner, name in (
        ("..", "timelines.sqlite3"),
        ("one-export", "../../timelines.sqlite3"),
        ("", "."),
        ("one-export", ".."),
    ):
        assert downloads.find(owner, name) is None
        with pytest.raises(ValueError, match="plain"):
            downloads.place(owner, name)
    mine = downloads.place(f"{timeline.identity}-cut", "cut.mp4")
    mine.write_bytes(b"x")
    os.utime(workspace.folder / "exports" / "one-export", (1, 1))
    downloads.place("two-export", "b.zip")
    assert downloads.find("one-export", "a b.zip") is None, "older than a day"
    assert mine.exists()
    os.utime(workspace.folder / "exports" / "two-export", (1, 1))
    Downloads(workspace.folder)
    assert not (workspace.folder / "exports" / "two-export").exists(), "removed at the start"
    workspace.timelines.delete(timeline.identity)
    assert not mine.exists()
