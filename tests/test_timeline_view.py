"""The Timeline view by AppTest: clips whose file is gone, and what a form refuses."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from smolvlm_core.paths import GALLERY
from smolvlm_core.timeline.clips import clip_of_file
from smolvlm_core.timeline.records import CAPTION, Answer, Clip, Request, Timeline
from smolvlm_core.timeline.segments import Piece
from smolvlm_core.workspace import Workspace
from tests.test_pages import ROOT, texts
from ui.timeline.search import marked
from ui.timeline.session import SHOWN_FOR, TimelineSession

SAMPLE = GALLERY / "circle-moves-right.mp4"


def opened(**address: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / "video_chat.py"), default_timeout=60)
    for name, value in {"view": "timeline", **address}.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def stored(workspace: Workspace, clip: Clip, *captions: str) -> Timeline:
    """A timeline as the command line makes it, one second a segment."""
    timeline = Timeline(
        identity="made-before", kind="clip", clip=clip, request=Request(entry="smolvlm-shapes"), created=time.time()
    )
    store = workspace.timelines.store
    store.add(timeline)
    store.put_segments(timeline.identity, [Piece(number, number + 1.0) for number in range(len(captions))])
    for segment, caption in zip(store.segments(timeline.identity), captions):
        store.save_answer(segment.identity, CAPTION, Answer(text=caption))
    return timeline


@pytest.fixture
def moved_clip(tmp_path: Path) -> Clip:
    """A clip that was asked about on the command line, and then moved away."""
    path = tmp_path / "a *strange* name.mp4"
    path.write_bytes(SAMPLE.read_bytes())
    clip = clip_of_file(path)
    path.unlink()
    return clip


def test_what_was_said_about_a_clip_that_is_gone_is_still_found(workspace: Workspace, moved_clip: Clip) -> None:
    timeline = stored(workspace, moved_clip, "A red circle appears.", "The red circle leaves.")
    app = opened()
    app.text_input(key="timeline_search").set_value("circ leav").run()
    hit = app.button(key="timeline_hit_0")
    assert hit.label.startswith("**a \\*strange\\* name.mp4** · 0:01 – 0:02")
    assert "(the clip's file is gone)" in hit.label and hit.label.endswith("The red **circle** **leaves**.")
    hit.click().run()
    assert not app.exception and "The file of this clip is gone" in app.info[0].value
    assert app.query_params["t"] == timeline.identity


def test_a_timeline_of_the_command_line_is_shown_with_its_clip(workspace: Workspace) -> None:
    stored(workspace, clip_of_file(SAMPLE), "A red circle moves to the right.")
    app = opened()
    app.button(key="timeline_open_made-before").click().run()
    assert not app.exception and not app.info
    assert "circle-moves-right.mp4" in texts(app)


def test_the_form_says_what_is_wrong_before_it_starts(workspace: Workspace) -> None:
    app = opened()
    app.button(key="timeline_circle-moves-right").click().run()
    assert "At most" in texts(app) and not app.button(key="timeline_start").disabled
    app.number_input(key="timeline_budget").set_value(2).run()
    assert "budget is 2; 4 (the frames of one segment) to 100000 is allowed" in texts(app)
    assert app.button(key="timeline_start").disabled
    app.number_input(key="timeline_budget").set_value(600).run()
    app.number_input(key="timeline_frames").set_value(64).run()
    assert "A segment does not fit the model's context. Use fewer frames of each segment." in texts(app)
    app.number_input(key="timeline_frames").set_value(4).run()
    app.text_area[0].set_value("Look at <image>").run()
    assert "<image>" in app.error[0].value and app.button(key="timeline_start").disabled


def test_matches_are_bold_and_nothing_else_is_rendered() -> None:
    assert marked("a \ue000<b>\ue001 *c* \ue000d\ue001e") == "a **\\<b>** \\*c\\* **d**e"


def test_a_live_session_is_listed_under_its_own_name(workspace: Workspace) -> None:
    clip = clip_of_file(SAMPLE)
    stored(workspace, clip, "A red circle moves.")
    live = Timeline(identity="live-one", kind="live", clip=clip, request=Request(entry="smolvlm-shapes"), created=1.0)
    workspace.timelines.store.add(live)
    app = opened(t="live-one")
    choice = app.selectbox(key="timeline_open")
    assert choice.value == "live-one" and choice.options[0].startswith("Live session")


def test_back_and_forward_go_between_timelines_of_different_clips(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, moved_clip: Clip
) -> None:
    stored(workspace, clip_of_file(SAMPLE), "A red circle moves.")
    clip = replace(moved_clip, sha256="f" * 64)
    other = Timeline(identity="other", kind="clip", clip=clip, request=Request(entry="smolvlm-shapes"), created=1.0)
    workspace.timelines.store.add(other)
    app = opened()
    app.button(key="timeline_circle-moves-right").click().run()
    assert app.selectbox(key="timeline_open").value == "made-before"
    monkeypatch.setattr("ui.address._went_back_or_forward", lambda: True)
    app.query_params["t"] = "other"
    app.run()
    assert not app.exception and app.selectbox(key="timeline_open").value == "other"


def test_a_hit_moves_the_player_once_and_only_in_its_clip() -> None:
    page = TimelineSession()
    page.go_to("one", 20.0, 7)
    assert page.due("two") == ((0.0, 0), (0, 0))
    assert page.due("one") == ((20.0, 1), (7, 1))
    page.drawn = time.monotonic() - 2 * SHOWN_FOR
    assert page.due("one") == ((0.0, 0), (0, 0))
    page.go_to("one", 3.0)
    assert page.due("one")[0] == (3.0, 2)


def test_a_link_to_a_timeline_that_is_gone_says_so(workspace: Workspace) -> None:
    assert "This timeline was deleted, or it is not yours." in [error.value for error in opened(t="gone").error]
