"""The Batch page, run by AppTest with the bundled model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.testing.v1 import AppTest

from smolvlm_core.access.users import LOCAL, User
from smolvlm_core.batch.jobs import SavedBatch
from smolvlm_core.batch.records import Record
from smolvlm_core.batch.results import Results, read_records
from smolvlm_core.check.schedule import PREFIX
from smolvlm_core.paths import GALLERY
from smolvlm_core.workspace import Workspace
from tests.conftest import drawn
from tests.test_batch import until
from tests.test_pages import BLUE, RED, button, page, texts
from ui.batch.selection import Selection
from ui.state import shared_process


def shown(app: AppTest) -> SavedBatch:
    batch = app.session_state["session"].batch.open
    found = app.session_state["session"].batch.open and _workspace().batches.find(batch)
    assert found is not None
    return found  # type: ignore[no-any-return]


def _workspace() -> Workspace:
    from ui import state

    return state.workspace()


def press(app: AppTest, label: str) -> AppTest:
    button(app, label).click()  # type: ignore[attr-defined]
    app.run()
    assert not app.exception
    return app


def ended(app: AppTest) -> AppTest:
    """The page, once the batch that it shows has ended."""
    run = _workspace().batches.run_of(shown(app))
    assert run is not None
    run.job.wait(60)
    app.run()
    assert not app.exception
    return app


def fill(app: AppTest, paths: str, prompt: str) -> AppTest:
    next(area for area in app.text_area if area.label.startswith("Folders")).set_value(paths)
    next(area for area in app.text_area if area.label == "Prompt").set_value(prompt)
    app.run()
    assert not app.exception
    return app


def answers(app: AppTest) -> dict[str, str]:
    """The table, by name."""
    table = app.dataframe[0].value
    return dict(zip(table["Name"], table["Answer"]))


def select(app: AppTest, *ids: str) -> AppTest:
    """AppTest cannot click into a table."""
    identity = app.session_state["session"].batch.open
    app.session_state["session"].batch.selections[identity] = Selection(ticked=ids, shown=ids[-1])
    app.run()
    assert not app.exception
    return app


def records(app: AppTest) -> dict[str, Record]:
    return {Path(record.item).name: record for record in read_records(shown(app).results)}


def test_the_samples_are_asked_and_looked_through() -> None:
    app = page("batch")
    assert "look through the answers" in texts(app) and not app.selectbox(key="model").disabled
    press(app, "Try it with the samples")
    assert "6 items (1 clip)." in texts(app)
    ended(press(app, "Start"))
    assert answers(app)["1-red-circle.png"] == "A large red circle in the center." and len(answers(app)) == 6
    assert "Last run: 6 answered" in texts(app)
    next(field for field in app.text_input if field.label == "Search").set_value("MOON").run()
    assert list(answers(app)) == ["3-night.png"]
    select(app, records(app)["circle-moves-right.mp4"].id)
    strip = json.loads(app.get("bidi_component")[0].proto.json)
    assert [shown["label"] for shown in strip["pictures"]][-1] == "0:03.93"
    assert "Frame from 00:00:<image>" in app.code[0].value
    assert "Weights: sha256" in texts(app) and "new at" in texts(app)
    assert [b.label for b in app.get("download_button")] == ["JSONL", "CSV", "Text files (zip)"]


def test_what_is_missing_or_wrong_is_said_beside_its_field(tmp_path: Path) -> None:
    app = press(page("batch"), "Start")
    assert "Name a folder or file." in texts(app) and "Write a prompt." in texts(app)
    fill(app, str(tmp_path / "gone"), "What is <image>?")
    assert "reserves" in texts(app) and "Write a prompt" not in texts(app)
    fill(app, str(tmp_path / "gone"), "What is it?")
    assert "gone does not exist" in texts(app)
    press(app, "Start")
    assert _workspace().batches.all() == [] or "gone does not exist" in texts(ended(app))
    app = fill(page("batch"), str(GALLERY), "What is it?")
    app.text_area(key="batch_schema").set_value("{").run()
    assert "The schema is not JSON" in texts(app)
    app.text_area(key="batch_schema").set_value("").run()
    app.toggle(key="batch_sidecars").set_value(True).run()
    app.text_input(key="batch_suffix").set_value(".png").run()
    assert "An extension starts with a dot" in texts(app) and "items" not in texts(app)


def test_an_answer_is_edited_taken_back_and_asked_again(tmp_path: Path) -> None:
    drawn("red").save(tmp_path / "red.png")
    (tmp_path / "damaged.png").write_bytes(b"x")
    app = fill(page("batch"), str(tmp_path), "What color is the circle?")
    app.toggle(key="batch_sidecars").set_value(True).run()
    ended(press(app, "Start"))
    assert answers(app) == {"red.png": "Red.", "damaged.png": ""}
    select(app, records(app)["red.png"].id)
    next(area for area in app.text_area if area.label == "Answer").set_value("Crimson.")
    press(app, "Save")
    assert (tmp_path / "red.txt").read_text() == "Crimson.\n" and records(app)["red.png"].text == "Crimson."
    app.run()
    assert "The model's own answer" in texts(app) and "Red." in texts(app) and answers(app)["red.png"] == "Crimson."
    press(app, "Use the model's answer")
    assert records(app)["red.png"].edited is None and (tmp_path / "red.txt").read_text() == "Red.\n"
    select(app, records(app)["damaged.png"].id)
    assert "damaged.png is not an image" in texts(app)
    drawn("blue", "rectangle").save(tmp_path / "damaged.png")
    before = records(app)["red.png"]
    ended(press(app, "Ask again"))
    assert answers(app)["damaged.png"] != "" and records(app)["red.png"] == before


def test_another_session_and_a_restart_show_the_batch_and_go_on(tmp_path: Path) -> None:
    for n in range(14):
        drawn("red", size=100 + n).save(tmp_path / f"{n:02}.png")
    app = press(fill(page("batch"), str(tmp_path), "What color is the circle?"), "Start")
    run = _workspace().batches.run_of(shown(app))
    assert run is not None
    until(lambda: run.progress.answered > 0)
    run.pause()
    app.run()
    other = page("batch")
    assert other.session_state["session"].batch.open == shown(app).identity and "Resume" in [
        b.label for b in other.button
    ]
    other.selectbox(key="batch_open").set_value("").run()
    assert "Running: " in texts(other)
    press(press(other, "Try it with the samples"), "Start")
    assert "Another batch is running: " in texts(other)
    press(press(other, "Show"), "Stop")
    ended(app)
    done = len(answers(app))
    assert 0 < done < 14 and f"Stopped: {done} answered, {14 - done} not asked" in texts(app)
    _workspace().batches._runs.clear()  # as after a restart
    again = page("batch")
    again.selectbox(key="batch_open").set_value(shown(app).identity).run()
    assert len(answers(again)) == done and "Stopped" not in texts(again)
    ended(press(again, "Continue"))
    assert list(answers(again).values()) == ["Red."] * 14
    assert f"Last run: {14 - done} answered, {done} answered before" in texts(again)


def test_uploads_are_named_counted_asked_and_deleted() -> None:
    app = page("batch")
    app.session_state["session"].batch.form.uploads = "my pets"  # AppTest cannot type a new name
    app.segmented_control[0].set_value("Upload").run()
    app.file_uploader[0].set_value([RED, BLUE]).run()
    assert not app.exception and "2 files in my pets, " in texts(app)
    next(area for area in app.text_area if area.label == "Prompt").set_value("What color is the shape?").run()
    assert "2 items." in texts(app)
    ended(press(app, "Start"))
    assert answers(app).keys() == {"red.png", "blue.png"} and shown(app).request.sidecars is None
    app.selectbox(key="batch_open").set_value("").run()
    assert "2 items, 2 answered already and skipped." in texts(app)
    press(app, "Delete the files")
    assert _workspace().batches.uploads.names() == [] and "2 files" not in texts(app)


def test_the_check_after_a_first_batch_needs_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits on a thread of its own, where nobody is signed in: in a shared app it found no user."""

    def user() -> User:
        assert get_script_run_ctx() is not None, "only the run of a page has a user"
        return LOCAL

    monkeypatch.setenv("SMOLVLM_LENS_CHECK", "on")
    monkeypatch.setattr("ui.access.current.user", user)
    app = press(press(page("batch"), "Try it with the samples"), "Start")
    (job,) = shared_process().jobs.with_prefix(PREFIX)
    job.wait(60)
    assert not app.exception and job.problem is None and job.result.asked


def test_ten_thousand_rows_are_drawn_a_page_at_a_time(tmp_path: Path) -> None:
    drawn("red").save(tmp_path / "red.png")
    app = ended(press(fill(page("batch"), str(tmp_path), "What color is the circle?"), "Start"))
    (record,) = read_records(shown(app).results)
    with Results(shown(app).results) as results:
        for n in range(10_000):
            results.append(replace(record, id=f"{n:05}", item=str(tmp_path / f"{n:05}.png"), answer=f"Answer {n}."))
    app.run(timeout=20)
    assert len(answers(app)) == 100 and "All 10,001" in json.dumps(app.segmented_control[0].options)
    app.get("pagination")
    next(field for field in app.text_input if field.label == "Search").set_value("answer 9999.").run()
    assert answers(app) == {"09999.png": "Answer 9999."}


@pytest.mark.parametrize("ids", [("b", "a", "c"), ("a", "b", "c", "d")])
def test_a_selection_stays_with_its_rows(ids: tuple[str, ...]) -> None:
    selection = Selection()
    before = ("a", "b", "c")
    key = selection.key("view", before)
    selection.take([], [(1, "Name")], before)
    assert (selection.shown, selection.ids) == ("b", ("b",))
    selection.take([0, 2], [(1, "Name")], before)
    assert (selection.shown, selection.ids) == ("c", ("a", "c"))
    moved = ids[:3] != before
    assert (selection.key("view", ids) != key) == moved, "rows that moved need a new table; further ones do not"
    places = selection.places(ids)["selection"]
    assert [ids[n] for n in places["rows"]] == [one for one in ids if one in "ac"]
    assert [ids[n] for n, _ in places["cells"]] == ["b"]
    selection.clear()
    assert selection.ids == () and selection.key("view", before) != key
