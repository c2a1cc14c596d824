"""A new backend is one file and its registration: the sidebar, chat, Compare, the check and the command line take it as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from smolvlm_core.backends import registry
from smolvlm_core.cli import main
from smolvlm_core.workspace import Workspace
from tests.conftest import drawn, encoded
from tests.test_pages import RED, asked, button, page, texts, upload
from tests.toy_backend import ToyEntry


@pytest.fixture
def toy(workspace: Workspace) -> Iterator[ToyEntry]:
    """Registered and added, as a user would find it."""
    registry.register(ToyEntry)
    entry = workspace.registry.add(ToyEntry(key="toy:colors", title="Toy colors", added=True))
    assert isinstance(entry, ToyEntry)
    yield entry
    del registry.KINDS["toy"]


def test_it_is_stored_and_listed(toy: ToyEntry, workspace: Workspace) -> None:
    assert workspace.registry.added() == (toy,)
    assert toy in workspace.registry.entries()


def test_sidebar_and_chat(toy: ToyEntry) -> None:
    app = page("image_chat")
    app.selectbox(key="model").set_value(toy.key).run()
    assert "It knows four colors" in texts(app)
    asked(upload(app, RED), "What color is the circle?")
    assert "Red." in texts(app) and "Toy colors · first token" not in texts(app) and "Toy colors · " in texts(app)


def test_check_and_badge(toy: ToyEntry, workspace: Workspace) -> None:
    app = page("backends")
    row = next(b for b in app.button if b.key == f"check_{toy.key}")
    row.click().run()
    workspace.checks.job_of(toy.make(workspace.pool)).wait(60)
    app.run()
    assert "Degraded" in texts(app) and "it only knows colors" in texts(app) and "Use a model." in texts(app)
    workspace.jobs.drop(workspace.checks.job_of(toy.make(workspace.pool)).name)
    chat = page("image_chat")
    chat.selectbox(key="model").set_value(toy.key).run()
    assert "was found degraded" in texts(chat) and ": Degraded" in texts(chat)


def test_compare(toy: ToyEntry, workspace: Workspace) -> None:
    app = page("compare")
    app.multiselect(key="compare_backends").set_value([toy.label, "SmolVLM Shapes (bundled) · transformers bf16"])
    upload(app, ("blue.png", encoded(drawn("blue")), "image/png"))
    app.text_area(key="compare_questions").set_value("What color is the circle?").run()
    button(app, "Compare").click().run()  # type: ignore[attr-defined]
    comparison = workspace.comparisons.find(app.session_state["session"].compare.key)
    assert comparison is not None
    comparison.wait(60)
    app.run()
    assert [c.answers[0].text for c in comparison.columns] == ["Blue.", "Blue."]
    assert texts(app).count("Blue.") == 2 and toy.label in texts(app)


def test_command_line(toy: ToyEntry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn("green").save(tmp_path / "green.png")
    assert main(["ask", "--model", "toy:colors", "--image", str(tmp_path / "green.png"), "What color is it?"]) == 0
    assert capsys.readouterr().out.strip() == "Green."
    assert main(["check", "--backend", "toy:other", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "degraded"


def test_it_is_not_known_once_it_is_unregistered(workspace: Workspace) -> None:
    assert isinstance(page("image_chat"), AppTest) and "toy:colors" not in [e.key for e in workspace.registry.entries()]
