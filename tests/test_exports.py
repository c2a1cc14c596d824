"""Exports as files for people, and the import of our own JSON: whole or not at all, whoever wrote the file."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from smolvlm_core.conversations import export, export_html, importing
from smolvlm_core.conversations.attachments import attach_image, describe_clip, store_frames
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.messages import active_turns
from smolvlm_core.video import sample_clip
from tests.conftest import Writer, drawn, encoded
from tests.test_branches import answer, asked, shown


def exported(store: Store, conversation: str) -> dict[str, Any]:
    info = store.info(conversation)
    assert info is not None
    return dict(json.loads(export.to_json(store, info)))


def branched(store: Store) -> str:
    """Two pictures, one hidden, two answers, an edited question."""
    conversation = store.create("image")
    webp = attach_image(store, encoded(drawn("blue"), "WEBP"), "photo.webp")
    hidden = replace(attach_image(store, encoded(drawn()), "a <b>.png"), shown=False)
    first, _ = asked(store, conversation, "What is <it>?\nAnd where?", webp, hidden)
    asked(store, conversation, "Follow-up")
    answer(store, first, "**bold** ![x](http://evil/x.png) <script>1</script>")
    edited = store.replace_question(first, "Edited")
    answer(store, edited, "Other")
    store.choose(conversation, first)
    return conversation


def without_ids(value: dict[str, Any]) -> dict[str, Any]:
    """Ids by their place in the file."""
    numbers = {row["id"]: at for at, row in enumerate(value["messages"])}
    rows = [
        {**row, **{name: numbers.get(row[name]) for name in ("id", "reply_to", "parent")}} for row in value["messages"]
    ]
    return {**value, "messages": rows, "conversation": {**value["conversation"], "id": ""}}


def test_an_export_that_is_imported_is_exported_the_same(store: Store, tmp_path: Path, write_clip: Writer) -> None:
    conversation = branched(store)
    clip, pngs = describe_clip("ab" * 32, "clip.mp4", sample_clip(write_clip(), 4), (0.0, 4.0))
    store_frames(store, pngs)
    video = store.create("video")
    asked(store, video, "What happens?", clip)
    other = Store(tmp_path / "other")
    for source in (conversation, video):
        value = exported(store, source)
        imported = importing.import_json(other, json.dumps(value).encode())
        assert imported.missing == 0 and imported.info.id != source
        assert without_ids(exported(other, imported.info.id)) == without_ids(value)
        assert shown(other, imported.info.id) == shown(store, source)
    assert other.problems() == ()


def test_an_export_of_before_branches_is_imported(store: Store) -> None:
    conversation = store.create("image")
    first, _ = asked(store, conversation, "A")
    asked(store, conversation, "B")
    value = exported(store, conversation)
    del value["format"], value["version"]
    for row in value["messages"]:
        del row["parent"]
    replaced = {**value["messages"][0], "id": 100, "text": "Was replaced by", "active": False}
    value["messages"] += [replaced, {**value["messages"][0], "id": 101, "text": "C"}]
    imported = importing.import_json(store, json.dumps(value).encode()).info.id
    assert shown(store, imported) == ["A", "A!", "B", "B!", "C"]
    messages = {m.text: m for m in store.messages(imported)}
    assert messages["Was replaced by"].parent == messages["C"].parent == messages["B!"].id


def change(path: str, new: object) -> Callable[[dict[str, Any]], None]:
    def apply(value: dict[str, Any]) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        at: Any = value
        for part in way:
            at = at[part]
        at[last] = new

    return apply


def swap_a_picture(value: dict[str, Any]) -> None:
    first, second, *_ = value["media"]
    value["media"][first] = value["media"][second]


def many_of_one_picture(value: dict[str, Any]) -> None:
    value["messages"][0]["attachments"] *= 20_000


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "something else": change("format", "a comparison"),
    "newer version": change("version", 99),
    "not a conversation": change("messages", {}),
    "kind": change("conversation/kind", "audio"),
    "is not a time": change("conversation/created", -5),
    "is not text": change("messages/0/text", 5),
    "role": change("messages/0/role", "system"),
    "SHA-256": change("messages/0/attachments/0/sha256", "../../verdicts.json"),
    "no size": change("messages/0/attachments/0/width", 0),
    "px is no size": change("messages/0/attachments/0/width", 2_000_000),
    "no range": change("messages/0/attachments/0/range_seconds", [5, -3]),
    "no frames": change("messages/0/attachments/0/kind", "video"),
    "choose frames": change("messages/0/attachments/0/strategy", "all"),
    "20,000 are allowed": many_of_one_picture,
    "have the id": change("messages/2/id", 1),
    "is not in the file": change("messages/1/reply_to", 77),
    "follows a message": change("messages/2/parent", 6),
    "temperature": change("messages/1/settings/temperature", -1),
    "not the one": swap_a_picture,
    "is empty": change("messages", []),
}


@pytest.mark.parametrize("words", HOSTILE)
def test_a_hostile_file_is_refused_in_words_and_nothing_is_stored(store: Store, tmp_path: Path, words: str) -> None:
    value = exported(store, branched(store))
    HOSTILE[words](value)
    other = Store(tmp_path / "other")
    with pytest.raises(LensError, match=words):
        importing.import_json(other, json.dumps(value).encode())
    assert other.conversations() == [] and not [p for p in (tmp_path / "other" / "media").rglob("*") if p.is_file()]


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"\xff\xfe", b"[]", b'{"media": 1e999}', b"1" * 10_000])
def test_what_is_no_export_is_refused(store: Store, data: bytes) -> None:
    with pytest.raises(LensError, match="Choose a file"):
        importing.import_json(store, data)


def test_a_file_that_would_fill_the_memory_is_refused_before_it_is_read(store: Store) -> None:
    with pytest.raises(LensError, match="more than 2,000,000 values"):
        importing.import_json(store, b"[%s{}]" % (b"{}," * 1_000_000))


def test_a_picture_that_is_no_picture_is_refused(store: Store) -> None:
    value = exported(store, branched(store))
    sha256 = store.media.add(b"no picture", "a.png", "image/png")
    value["messages"][0]["attachments"][0]["sha256"] = sha256
    value["media"][sha256] = "bm8gcGljdHVyZQ=="
    before = len(store.conversations())
    with pytest.raises(LensError, match="not an image"):
        importing.import_json(store, json.dumps(value).encode())
    assert len(store.conversations()) == before


def test_pictures_that_the_file_does_not_have_are_counted(store: Store, tmp_path: Path) -> None:
    value = exported(store, branched(store))
    value["media"][next(iter(value["media"]))] = ""
    other = Store(tmp_path / "other")
    imported = importing.import_json(other, json.dumps(value).encode())
    assert imported.missing == 1 and shown(other, imported.info.id)


def test_a_failure_in_the_middle_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.dumps(exported(store, branched(store))).encode()
    other = Store(tmp_path / "other")
    monkeypatch.setattr(importing.schema, "BRANCHES", ("NOT SQL",))
    value = json.loads(data)
    for row in value["messages"]:
        del row["parent"]
    with pytest.raises(LensError):
        importing.import_json(other, json.dumps(value).encode())
    assert other.conversations() == [] and not [p for p in (tmp_path / "other" / "media").rglob("*") if p.is_file()]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})


@given(st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_imported_or_refused_in_words(store: Store, data: st.DataObject) -> None:
    if not store.conversations():
        branched(store)
    value = exported(store, store.conversations()[-1].id)
    at: Any = value
    for _ in range(data.draw(st.integers(0, 4))):
        keys = list(range(len(at))) if isinstance(at, list) else sorted(at)
        inner = [key for key in keys if isinstance(at[key], dict | list) and at[key]]
        if not inner:
            break
        at = at[data.draw(st.sampled_from(inner))]
    key = data.draw(st.sampled_from(list(range(len(at))) if isinstance(at, list) else sorted(at)))
    at[key] = data.draw(VALUES)
    try:
        imported = importing.import_json(store, json.dumps(value).encode())
    except LensError as error:
        assert len(str(error)) < 1000
        return
    info = store.info(imported.info.id)
    assert info is not None and active_turns(store.messages(info.id))
    export_html.to_html(store, info)
    store.delete(info.id)


def test_the_web_page_has_pictures_that_any_viewer_shows_and_no_markup_of_others(store: Store) -> None:
    info = store.info(branched(store))
    assert info is not None
    page = export_html.to_html(store, info)
    assert page.count("data:image/png;base64,") == 1 and page.count("data:image/jpeg;base64,") == 1
    assert "image/webp" not in page and "Hidden from the model" in page and 'class=" hidden"' in page
    assert "<strong>bold</strong>" in page and "<script" not in page and 'evil/x.png"' not in page
    assert "What is &lt;it&gt;?" in page and "default-src &#39;none&#39;" not in page and "default-src 'none'" in page
    assert "Not shown here: 2 questions and 3 answers in other versions" in page
    markdown = export.to_markdown(store, info)
    assert "image/webp" not in markdown and markdown.count("data:image/jpeg;base64,") == 1


def test_shared_pictures_do_not_tell_where_they_were_taken(store: Store) -> None:
    picture, data = drawn(), io.BytesIO()
    exif = picture.getexif()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "at home")
    picture.save(data, "PNG", exif=exif, pnginfo=texts)
    for original in (data.getvalue(), encoded(drawn())):
        uri = export.picture_uri(store, attach_image(store, original, "a.png").sha256, "image/png")
        shared = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert not shared.getexif() and shared.info == {} and shared.tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("What color is the circle?", "What color is the circle.md"),
        ('a/b\\c:d*e"f<g>h|i\nj', "a b c d e f g h i j.md"),
        ("word " * 30, ("word " * 12).strip() + ".md"),
        ("x" * 100, "x" * 60 + ".md"),
        ("con", "conversation con.md"),
        ("...", "conversation.md"),
        ("\u202egnp.exe", "gnp.exe.md"),
    ],
)
def test_file_names_are_cut_at_a_word_and_safe_everywhere(title: str, name: str) -> None:
    assert export.file_name(title, "md") == name
