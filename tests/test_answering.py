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


def test_an_answer_is_stored_with_its_settings_and_statistics(
    workspace: Workspace, store: Store, backend: TransformersBackend
) -> None:
    conversation = store.create("image")
    question = store.add_question(
        conversation, "What color is the circle?", (attach_image(store, encoded(drawn()), "a.png"),)
    )
    answer = workspace.answers.start(backend, conversation, question, GenerationSettings(seed=7))
    snapshots = list(answer.follow())
    assert snapshots[-1].done and snapshots[-1].text == "Red." and workspace.answers.running(conversation) is None
    stored = last_answer(store, conversation)
    assert (stored.text, stored.status, stored.model) == ("Red.", "complete", backend.name)  # type: ignore[attr-defined]
    assert stored.settings.seed == 7 and stored.stats.stop_reason == "end" and stored.revision  # type: ignore[attr-defined,index]


def test_a_follow_up_question_sees_the_image_again(
    workspace: Workspace, store: Store, backend: TransformersBackend
) -> None:
    conversation = store.create("image")
    first = store.add_question(
        conversation, "What shape is in the image?", (attach_image(store, encoded(drawn("blue")), "a.png"),)
    )
    workspace.answers.start(backend, conversation, first, GenerationSettings()).wait()
    second = store.add_question(conversation, "What color is the circle?")
    workspace.answers.start(backend, conversation, second, GenerationSettings()).wait()
    stored = last_answer(store, conversation)
    assert stored.text == "Blue." and stored.stats.reused_tokens > 180  # type: ignore[attr-defined]


def test_an_answer_that_cannot_be_saved_is_saved_later(
    workspace: Workspace, store: Store, backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a bug: if the disk filled up during an answer, the answer stayed "running" forever."""
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
    stored = last_answer(store, conversation)
    assert (stored.text, stored.status) == ("Circle.", "complete")  # type: ignore[attr-defined]


def test_lone_surrogates_are_replaced_before_storing(
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


def test_a_stopped_answer_is_stored_up_to_that_point(
    workspace: Workspace, store: Store, backend: TransformersBackend
) -> None:
    conversation = store.create("image")
    pictures = tuple(attach_image(store, encoded(drawn(c)), "a.png") for c in ("red", "blue", "green"))
    question = store.add_question(conversation, "Describe each image.", pictures)
    answer = workspace.answers.start(backend, conversation, question, GenerationSettings())
    with pytest.raises(LensError, match="already"):
        workspace.answers.start(backend, conversation, question, GenerationSettings())
    for snapshot in answer.follow(0):
        if len(snapshot.text) > 8:
            answer.stop()
    stored = last_answer(store, conversation)
    assert stored.status == "stopped" and stored.text.startswith("Image 1")  # type: ignore[attr-defined]
    again = workspace.answers.start(backend, conversation, question, GenerationSettings())
    again.wait()
    assert [m.status for m in store.messages(conversation) if m.role == "assistant" and m.active] == ["complete"]


def test_a_refused_prompt_creates_no_answer(workspace: Workspace, store: Store, backend: TransformersBackend) -> None:
    conversation = store.create("image")
    question = store.add_question(conversation, "what is <image>?")
    with pytest.raises(PromptError):
        workspace.answers.start(backend, conversation, question, GenerationSettings())
    assert last_answer(store, conversation) is None and workspace.answers.running(conversation) is None


def test_a_failed_answer_stores_its_error_message(
    workspace: Workspace, store: Store, backend: TransformersBackend
) -> None:
    conversation = store.create("image")
    attachment = attach_image(store, encoded(drawn("purple")), "a.png")
    question = store.add_question(conversation, "What?", (attachment,))
    store.media.path(attachment.sha256).unlink()
    workspace.answers.start(backend, conversation, question, GenerationSettings()).wait()
    stored = last_answer(store, conversation)
    assert stored.status == "failed" and "missing from the data folder" in stored.error  # type: ignore[attr-defined]
    assert not any(t.name.startswith("answer-") for t in threading.enumerate())


def test_a_failing_store_does_not_block_the_conversation(
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
