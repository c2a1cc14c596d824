"""The pages, run by AppTest with the bundled model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest

from smolvlm_core.access.users import Limits
from smolvlm_core.backends.transformers import CheckpointEntry
from smolvlm_core.conversations.store import Store
from smolvlm_core.models import catalog
from smolvlm_core.paths import GALLERY
from smolvlm_core.prompt.messages import active_turns
from smolvlm_core.work.job import Jobs
from smolvlm_core.workspace import Workspace
from tests.conftest import Ggufs, Writer, drawn, encoded
from tests.llama import needs_llama_cpp
from ui import state

ROOT = Path(__file__).resolve().parent.parent


def jobs() -> Jobs:
    return state.workspace().jobs


def page(name: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120).run()
    assert not app.exception
    return app


def texts(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.text, *app.error, *app.warning, *app.title]
    return re.sub(r"\\([^\w\s])", r"\1", "\n".join(str(p.value) for p in parts))  # as rendered Markdown


def upload(app: AppTest, *files: tuple[str, bytes, str]) -> AppTest:
    app.file_uploader[0].upload(*files[0]) if len(files) == 1 else [app.file_uploader[0].upload(*f) for f in files]
    return app.run()


def button(app: AppTest, label: str) -> object:
    return next(b for b in app.button if b.label == label)


RED = ("red.png", encoded(drawn("red")), "image/png")
BLUE = ("blue.png", encoded(drawn("blue", "rectangle")), "image/png")


def asked(app: AppTest, question: str) -> AppTest:
    app.chat_input[0].set_value(question).run()
    assert not app.exception
    return app


def test_frames_count_as_stored(workspace: Workspace) -> None:
    """A question about a clip stores its frames: a clip that just fits must not make room for any number of them."""
    clip = GALLERY / "circle-moves-right.mp4"
    app = page("video_chat")
    upload(app, (clip.name, clip.read_bytes(), "video/mp4"))
    workspace.limits = lambda: Limits(disk_bytes=clip.stat().st_size)
    asked(app, "What shape is in the video?")
    assert "your limit of" in texts(app) and not workspace.store.conversations("video")
    workspace.limits = lambda: Limits(disk_bytes=2**30)
    button(app, "Send again").click().run()  # type: ignore[attr-defined]
    assert not app.exception and workspace.store.conversations("video")


def test_a_new_page_shows_what_to_do_and_the_default_model() -> None:
    app = page("image_chat")
    assert app.title[0].value == "Image chat"
    assert "Ask questions about pictures" in texts(app) and "this machine: nothing is sent" in texts(app)
    assert app.selectbox(key="model").value == "smolvlm-shapes" and "does not know photos" in texts(app)


def test_upload_a_question_and_a_follow_up() -> None:
    app = upload(page("image_chat"), RED)
    assert "(180 image," in texts(app), "the cost is shown before sending"
    assert re.search(r"and \d+ MiB of memory\.", texts(app))
    asked(app, "What color is the circle?")
    assert "Red." in texts(app) and "tokens/s" in texts(app) and "180 image" in texts(app)
    asked(app, "What shape is in the image?")
    assert "Circle." in texts(app)
    store = state.workspace().store
    (info,) = store.conversations()
    assert [a.text for _, a in active_turns(store.messages(info.id)) if a] == ["Red.", "Circle."]


def test_a_hidden_image_is_not_sent_to_the_model() -> None:
    app = asked(upload(page("image_chat"), RED), "What color is the circle?")
    button(app, "Hide from model").click().run()  # type: ignore[attr-defined]
    asked(app, "What color is the circle?")
    assert "I see no image" in texts(app)


def test_a_broken_file_shows_an_error_and_the_page_still_works() -> None:
    app = upload(page("image_chat"), ("broken.png", b"not an image", "image/png"))
    assert "broken.png is not an image" in texts(app)
    app = asked(upload(app, RED), "What color is the circle?")
    assert "Red." in texts(app)


def test_answering_again_and_editing_keep_the_replaced_messages() -> None:
    app = asked(upload(page("image_chat"), RED), "What color is the circle?")
    assert "Temperature 0" not in texts(app) and not [b for b in app.button if b.label == "Answer again"]
    app.slider(key="temperature").set_value(0.1).run()  # at 0 it would repeat itself
    button(app, "Answer again").click().run()  # type: ignore[attr-defined]
    assert "temperature 0.1, seed 0" in texts(app)
    assert button(app, "Answer again").help == "Uses temperature 0.1 and seed 1."  # type: ignore[attr-defined]
    next(b for b in app.button if b.key and b.key.startswith("edit_")).click().run()
    next(t for t in app.text_area if t.label == "Question").set_value("What shape is in the image?")
    button(app, "Ask again").click().run()  # type: ignore[attr-defined]
    assert not app.exception and "Circle." in texts(app)
    store = state.workspace().store
    messages = store.messages(store.conversations()[0].id)
    assert [(m.text, m.active) for m in messages] == [
        ("What color is the circle?", False),
        ("Red.", False),
        ("Red.", True),  # chosen among the answers of its question
        ("What shape is in the image?", True),
        ("Circle.", True),
    ]


def test_a_question_with_reserved_tokens_is_refused_and_shown_again() -> None:
    app = asked(page("image_chat"), "what is <image>?")
    refused = app.session_state["session"].refused["image"]
    assert "reserves" in refused.why and refused.shown and refused.question == "what is <image>?"
    assert state.workspace().store.conversations() == [], "a refused question is not stored"
    asked(upload(app, RED), "What color is the circle?")
    assert "Red." in texts(app)


def test_too_many_images_show_a_warning_before_sending() -> None:
    app = page("image_chat")
    for i in range(12):
        upload(app, (f"{i}.png", encoded(drawn("red", size=300 + i)), "image/png"))
    assert "(2,160 image," in texts(app) and "Remove some pictures" in texts(app)
    asked(app, "What color?")
    assert "This does not fit" in texts(app) and state.workspace().store.conversations() == []


def test_a_model_that_cannot_be_downloaded_shows_an_error() -> None:
    app = page("image_chat")
    app.selectbox(key="model").set_value("SmolVLM2-256M-Video-Instruct").run()
    asked(app, "hello")
    assert "is not on this machine and the model hub cannot be reached" in texts(app)
    app.selectbox(key="model").set_value("smolvlm-shapes").run()
    button(app, "Answer again").click().run()  # type: ignore[attr-defined]
    assert "Hello!" in texts(app)


def test_conversations_can_be_opened_searched_and_deleted(store: Store) -> None:
    app = asked(upload(page("image_chat"), RED), "What color is the circle?")
    button(app, "New conversation").click().run()  # type: ignore[attr-defined]
    assert "Red." not in texts(app)
    app.text_input(key="search_image").set_value("circle").run()
    button(app, "What color is the circle?").click().run()  # type: ignore[attr-defined]
    assert "Red." in texts(app)
    store.delete(store.conversations()[0].id)
    app.run()
    assert not app.exception and "This conversation was deleted" in texts(app)


def test_a_clip_shows_its_frames_and_cost_and_answers(write_clip: Writer) -> None:
    app = page("video_chat")
    assert "Ask questions about a clip" in texts(app) and app.chat_input[0].disabled
    clip = ROOT / "assets" / "gallery" / "circle-moves-right.mp4"
    upload(app, (clip.name, clip.read_bytes(), "video/mp4"))
    assert not app.exception
    assert "60 frames" in texts(app) and "(288 image," in texts(app) and "these 8 frames" in texts(app)
    assert re.search(r"and \d+ MiB of memory\.", texts(app))
    assert [f.frame_index for f in app.session_state["session"].sampled.sampled.frames] == [
        0,
        8,
        16,
        25,
        33,
        42,
        50,
        59,
    ]
    asked(app, "In which direction does the circle move?")
    assert "To the right." in texts(app)
    asked(app, "What shape is in the video?")
    assert "Circle." in texts(app)
    store = state.workspace().store
    messages = store.messages(store.conversations("video")[0].id)
    assert [len(m.attachments) for m in messages if m.role == "user"] == [1, 0], "the frames are attached once"


def test_new_frames_replace_the_earlier_ones() -> None:
    app = page("video_chat")
    clip = ROOT / "assets" / "gallery" / "circle-moves-right.mp4"
    upload(app, (clip.name, clip.read_bytes(), "video/mp4"))
    asked(app, "Which way does the circle move?")
    app.slider[0].set_value(4)
    app.run()
    assert "take the place of the earlier ones" in texts(app) and "(144 image," in texts(app)
    asked(app, "How many frames do you see?")
    assert "Four." in texts(app) and "144 image" in texts(app)


def test_too_many_frames_offer_fewer(write_clip: Writer) -> None:
    app = page("video_chat")
    path = write_clip(frames=64, fps=8)
    upload(app, ("long.mp4", path.read_bytes(), "video/mp4"))
    app.slider[0].set_value(64)
    app.run()
    assert "This does not fit" in texts(app)
    fewer = next(b for b in app.button if b.label.startswith("Use ") and b.label.endswith(" frames"))
    fewer.click().run()
    assert not app.exception and "This does not fit" not in texts(app)
    assert app.slider[0].value == int(fewer.label.split()[1]) > 30


def test_two_tabs_select_frames_of_one_clip_independently() -> None:
    clip = ROOT / "assets" / "gallery" / "circle-moves-right.mp4"
    one, other = (upload(page("video_chat"), (clip.name, clip.read_bytes(), "video/mp4")) for _ in range(2))
    one.slider[0].set_value(4).run()
    other.run()
    assert len(one.session_state["session"].sampled.sampled.frames) == 4
    assert len(other.session_state["session"].sampled.sampled.frames) == 8


def test_a_reopened_conversation_shows_the_frames_of_its_last_question() -> None:
    app = page("video_chat")
    clip = ROOT / "assets" / "gallery" / "circle-moves-right.mp4"
    upload(app, (clip.name, clip.read_bytes(), "video/mp4"))
    app.slider[0].set_value(5).run()
    asked(app, "What color is the circle?")
    app.slider[0].set_value(9).run()
    again = page("video_chat")
    again.session_state["session"].open_conversations["video"] = state.workspace().store.conversations("video")[0].id
    again.run()
    assert not again.exception and again.slider[0].value == 5
    assert len(again.session_state["session"].sampled.sampled.frames) == 5
    assert "take the place" not in texts(again), "the next question replaces no frames"


@pytest.mark.parametrize("name, title", [("video_chat", "circle-moves-right.mp4"), ("image_chat", "1-red-circle.png")])
def test_an_upload_arrives_even_if_the_uploader_was_replaced(name: str, title: str) -> None:
    """Guards against a race: with two uploads in a row, the first callback increments the round before the second reads it."""
    app = page(name)
    app.session_state["session"].uploader_round = 3
    file = ROOT / "assets" / "gallery" / title
    upload(app, (file.name, file.read_bytes(), "application/octet-stream"))
    assert not app.exception
    if name == "video_chat":
        assert app.session_state["session"].clip.name == title
    else:
        assert [a.name for a in app.session_state["session"].pending] == [title]


def test_a_file_that_is_not_a_clip_shows_an_error() -> None:
    app = upload(page("video_chat"), ("a.mp4", b"not a clip", "video/mp4"))
    assert "a.mp4 is not a clip" in texts(app)


@pytest.mark.parametrize("name", ["image_chat", "video_chat"])
def test_generation_settings_can_be_changed(name: str) -> None:
    app = page(name)
    app.slider(key="max_new_tokens").set_value(32).run()
    assert not app.exception and app.slider(key="max_new_tokens").value == 32


def test_the_backends_page_lists_backends_and_refuses_missing_files_and_servers() -> None:
    app = page("backends")
    assert "SmolVLM Shapes (bundled)" in texts(app)
    app.text_input(key="gguf_text").set_value("/nowhere/model.gguf")
    next(b for b in app.button if b.label == "Add").click()
    app.run()
    assert "There is no file /nowhere/model.gguf" in texts(app)
    app.text_input(key="server_url").set_value("http://127.0.0.1:9")
    [b for b in app.button if b.label == "Add"][-1].click()
    app.run()
    assert "Nothing answers at http://127.0.0.1:9" in texts(app)
    assert app.text_input(key="server_url").value == "http://127.0.0.1:9"  # the input is not cleared


def test_a_gguf_without_a_projector_shows_a_warning_above_the_chat(ggufs: Ggufs, tmp_path: Path) -> None:
    alone = tmp_path / "alone.gguf"
    alone.write_bytes(ggufs.text.read_bytes())
    app = page("backends")
    app.text_input(key="gguf_text").set_value(str(alone))
    next(b for b in app.button if b.label == "Add").click()
    app.run()
    assert not app.error
    entry = state.workspace().registry.added()[0]
    assert entry.projector == ""
    chat = page("image_chat")
    chat.selectbox(key="model").set_value(entry.key).run()
    assert "has no vision projector" in texts(chat)
    upload(chat, RED)
    asked(chat, "What color is the circle?")
    assert "cannot be shown pictures" in texts(chat)


def wait_for_checks(app: AppTest) -> AppTest:
    for job in jobs().with_prefix("check "):
        job.wait(300)
    return app.run()


def test_a_backend_is_checked_only_on_its_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOLVLM_LENS_CHECK", "on")
    app = upload(page("image_chat"), RED)
    assert not jobs().with_prefix("check "), "no check before the first use"
    asked(app, "What color is the circle?")
    assert ":material/visibility: Sees" in texts(wait_for_checks(app))
    jobs().drop(jobs().with_prefix("check ")[0].name)
    asked(app, "What shape is it?")
    assert not jobs().with_prefix("check ")


def test_a_blind_backend_shows_an_error_above_the_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOLVLM_LENS_CHECK", "on")
    blind = shutil.copytree(str(catalog.bundled().folder), tmp_path / "blind")
    weights = load_file(f"{blind}/model.safetensors")
    save_file(
        {n: w * 0 if "connector" in n else w for n, w in weights.items()},
        f"{blind}/model.safetensors",
        {"format": "pt"},
    )
    app = page("image_chat")
    app.text_input(key="folder").set_value(str(blind)).run()
    assert app.selectbox(key="model").value == str(blind), "a folder that was added is chosen"
    upload(app, RED)
    asked(app, "What color is the circle?")
    wait_for_checks(app)
    assert "was found blind" in app.error[0].value and "checkpoint again" in app.error[0].value
    for job in jobs().with_prefix("check "):
        jobs().drop(job.name)


def test_the_backends_page_shows_the_questions_and_answers_of_a_check() -> None:
    app = page("backends")
    next(b for b in app.button if b.label == "Check").click()
    app.run()
    wait_for_checks(app)
    app.toggle[0].set_value(True).run()
    table = next(html.proto.body for html in app.get("html") if "Expected: " in html.proto.body)
    assert "data:image/png" in table and "With a wrong picture" in table and "Answer with one word" in table
    asked = {id(a.canary) for job in jobs().with_prefix("check ") for a in job.result.asked}
    assert table.count("Expected: ") == len(asked), "one row per question, with all its answers"
    for job in jobs().with_prefix("check "):
        jobs().drop(job.name)


@needs_llama_cpp
def test_a_pair_of_gguf_files_can_be_added_and_answers(ggufs: Ggufs) -> None:
    app = page("backends")
    app.text_input(key="gguf_text").set_value(str(ggufs.quantized))
    next(b for b in app.button if b.label == "Add").click()
    app.run()
    entry = state.workspace().registry.added()[0]
    assert entry.projector == str(ggufs.projector.resolve())
    chat = page("image_chat")
    chat.selectbox(key="model").set_value(entry.key).run()
    upload(chat, RED)
    asked(chat, "What color is the circle?")
    assert "Red." in texts(chat) and not chat.error
    stored = state.workspace().store.messages(state.workspace().store.conversations("image")[0].id)[-1]
    assert "llama.cpp" in stored.model and "Q4_K_M" in stored.revision and stored.stats.image_tokens == 180


def test_a_question_sent_while_the_model_is_not_loaded_is_not_lost(workspace: Workspace) -> None:
    """The status of the model must not run the page again before the question was read."""
    app = page("image_chat")
    for handle in workspace.pool.loaded():
        workspace.pool.release(handle)
    app.session_state["session"].preloaded = frozenset()
    app.session_state["session"].painted = True
    asked(app, "hello")
    assert [info.title for info in workspace.store.conversations()] == ["hello"]
    assert "Hello!" in texts(app)


@pytest.mark.parametrize("name", ["backends", "compare", "image_chat"])
def test_a_checkpoint_folder_that_was_deleted_breaks_no_page(name: str, workspace: Workspace, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(str(catalog.bundled().folder), tmp_path / "mine"))
    entry = workspace.registry.add(CheckpointEntry.of(catalog.from_folder(folder), added=True))
    shutil.rmtree(folder)
    app = page(name)
    if name == "backends":
        assert "There is no model called" in texts(app)
        next(b for b in app.button if b.key == f"remove_{entry.key}").click().run()
        assert workspace.registry.added() == ()
    if name == "image_chat":
        app.selectbox(key="model").set_value(entry.key).run()
        assert not app.exception and "The default model is used instead" in texts(app)


def test_a_model_that_is_not_available_now_stays_chosen(workspace: Workspace) -> None:
    app = page("image_chat")
    app.session_state["session"].model = "ollama:gone http://127.0.0.1:11434"
    app.run()
    assert "is not available now. The default model is used instead" in texts(app)
    assert app.session_state["session"].model == "ollama:gone http://127.0.0.1:11434"
