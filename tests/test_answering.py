from __future__ import annotations

import threading
from typing import Any

import pytest

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.conversations.attachments import attach_image
from smolvlm_core.conversations.store import Store
from smolvlm_core.errors import LensError, PromptError, StoreError
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.messages import active_turns
from smolvlm_core.workspace import Workspace
from tests.conftest import drawn, encoded


def last_answer(store: Store, conversation: str) -> object:
    return active_turns(store.messages(conversation))[-1][1]


def test_an_answer_is_kept_with_all_about_it(workspace: Workspace, store: Store, backend: TransformersBackend) -> None:
    conversation = store.create("image")
    question = store.add_question(
        conversation, "What color is the circle?", (attach_image(store, encoded(drawn()), "a.png"),)
    )
    answer = workspace.answers.start(backend, conversation, question, GenerationSettings(seed=7))
    snapshots = list(answer.follow())
    assert snapshots[-1].done and snapshots[-1].text == "Red." and workspace.answers.running(conversation) is None
    kept = last_answer(store, conversation)
    assert (kept.text, kept.status, kept.model) == ("Red.", "complete", backend.name)  # type: ignore[attr-defined]
    assert kept.settings.seed == 7 and kept.stats.stop_reason == "end" and kept.revision  # type: ignore[attr-defined,index]


def test_a_follow_up_keeps_the_picture(workspace: Workspace, store: Store, backend: TransformersBackend) -> None:
    conversation = store.create("image")
    first = store.add_question(
        conversation, "What shape is in the image?", (attach_image(store, encoded(drawn("blue")), "a.png"),)
    )
    workspace.answers.start(backend, conversation, first, GenerationSettings()).wait()
    second = store.add_question(conversation, "What color is the circle?")
    workspace.answers.start(backend, conversation, second, GenerationSettings()).wait()
    kept = last_answer(store, conversation)
    assert kept.text == "Blue." and kept.stats.reused_tokens > 180  # type: ignore[attr-defined]


def test_an_answer_that_cannot_be_saved_is_kept_and_saved_later(
    workspace: Workspace, store: Store, backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills in mid-answer left the answer "running" for good."""
    monkeypatch.setattr("smolvlm_core.conversations.answering.RETRY_SECONDS", 0.05)
    full = threading.Event()
    full.set()
    save = store.save_answer

    def save_unless_full(*args: Any, **more: Any) -> None:
        if full.is_set():
            raise StoreError("The disk is full.", "Free some disk space.")
        save(*args, **more)

    monkeypatch.setattr(store, "save_answer", save_unless_full)
    conversation = store.create("image")
    question = store.add_question(conversation, "What shape is it?", (attach_image(store, encoded(drawn()), "a.png"),))
    answer = workspace.answers.start(backend, conversation, question, GenerationSettings())
    waiting = next(s for s in answer.follow(0) if s.progress is not None and "not saved yet" in s.progress.text)
    assert waiting.text == "Circle." and "Free some disk space" in str(waiting.progress)
    full.clear()
    answer.wait(30)
    kept = last_answer(store, conversation)
    assert (kept.text, kept.status) == ("Circle.", "complete")  # type: ignore[attr-defined]


def test_text_that_no_file_can_hold_is_replaced(
    workspace: Workspace, store: Store, backend: TransformersBackend
) -> None:
    conversation = store.create("image")
    question = store.add_question(conversation, "half a pair: \ud83d")
    workspace.answers.start(backend, conversation, question, GenerationSettings()).wait(30)
    assert store.messages(conversation)[0].text == "half a pair: \ufffd"
    assert last_answer(store, conversation).status == "complete"  # type: ignore[attr-defined]
    store.save_answer(store.messages(conversation)[1].id, "\udc00 and \ud83d\ude00", "complete")
    assert store.messages(conversation)[1].text == "\ufffd and 😀"
    assert len(store.conversations("image", "half a pair: \ud800")) == 1


def test_stop_keeps_what_was_said(workspace: Workspace, store: Store, backend: TransformersBackend) -> None:
    conversation = store.create("image")
    pictures = tuple(attach_image(store, encoded(drawn(c)), "a.png") for c in ("red", "blue", "green"))
    question = store.add_question(conversation, "Describe each image.", pictures)
    answer = workspace.answers.start(backend, conversation, question, GenerationSettings())
    with pytest.raises(LensError, match="already"):
        workspace.answers.start(backend, conversation, question, GenerationSettings())
    for snapshot in answer.follow(0):
        if len(snapshot.text) > 8:
            answer.stop()
    kept = last_answer(store, conversation)
    assert kept.status == "stopped" and kept.text.startswith("Image 1")  # type: ignore[attr-defined]
    again = workspace.answers.start(backend, conversation, question, GenerationSettings())
    again.wait()
    assert [m.status for m in store.messages(conversation) if m.role == "assistant" and m.active] == ["complete"]


def test_a_refused_prompt_leaves_no_half_turn(workspace: Workspace, store: Store, backend: TransformersBackend) -> None:
    conversation = store.create("image")
    question = store.add_question(conversation, "what is <image>?")
    with pytest.raises(PromptError):
        workspace.answers.start(backend, conversation, question, GenerationSettings())
    assert last_answer(store, conversation) is None and workspace.answers.running(conversation) is None


def test_a_failure_is_kept_in_words(workspace: Workspace, store: Store, backend: TransformersBackend) -> None:
    conversation = store.create("image")
    attachment = attach_image(store, encoded(drawn()), "a.png")
    question = store.add_question(conversation, "What?", (attachment,))
    store.media.path(attachment.sha256).unlink()
    workspace.answers.start(backend, conversation, question, GenerationSettings()).wait()
    kept = last_answer(store, conversation)
    assert kept.status == "failed" and "missing from the data folder" in kept.error  # type: ignore[attr-defined]
    assert not any(t.name.startswith("answer-") for t in threading.enumerate())


def test_a_failing_store_does_not_leave_the_conversation_busy(
    workspace: Workspace, store: Store, backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = store.create("image")
    question = store.add_question(conversation, "hello")

    def fail(*_: object, **__: object) -> None:
        raise LensError("disk full")

    monkeypatch.setattr(store, "save_answer", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    answer = workspace.answers.start(backend, conversation, question, GenerationSettings())
    assert list(answer.follow())[-1].done and workspace.answers.running(conversation) is None
