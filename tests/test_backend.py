"""The transformers backend on the bundled model, for real."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw

from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine.encoding import encode_prompt
from smolvlm_core.errors import ContextTooSmall
from smolvlm_core.models import catalog
from smolvlm_core.models.load import ModelLoader
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings, Progress, Stats
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from tests.conftest import drawn
from ui import state

PICTURES = {"red": drawn("red"), "blue": drawn("blue", "rectangle"), "green": drawn("green"), "yellow": drawn("yellow")}


def image(key: str) -> Attachment:
    """The model keeps conversations by these names: other tests must not give them to other pictures."""
    return Attachment(kind="image", sha256=f"backend {key}", name=key, mime="image/png", width=300, height=300)


def prompt_of(*said: tuple[str, Sequence[str]] | str) -> Prompt:
    """Questions with the keys of their pictures; strings are answers."""
    messages = [
        Message("assistant", s) if isinstance(s, str) else Message("user", s[0], tuple(image(k) for k in s[1]))
        for s in said
    ]
    return build_prompt(messages, lambda name: PICTURES[name.removeprefix("backend ")])


def run(
    backend: TransformersBackend, prompt: Prompt, settings: GenerationSettings | None = None
) -> tuple[str, Stats, list[Event]]:
    events = list(backend.generate(prompt, settings or GenerationSettings(), threading.Event()))
    stats = events[-1]
    assert isinstance(stats, Stats)
    return "".join(e.text for e in events if isinstance(e, Delta)), stats, events


def reference(backend: TransformersBackend, prompt: Prompt, new_tokens: int) -> list[int]:
    """Plain `generate` of a fresh model on the whole input at once."""
    loaded = backend.handle.loaded
    assert loaded is not None
    made = encode_prompt(prompt, backend.spec, loaded.tokenizer, loaded.image_processor)
    ids = torch.tensor([made.ids])
    pictures = {"pixel_values": made.tiles.unsqueeze(0)} if made.tiles is not None else {}
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **pictures,
            max_new_tokens=new_tokens,
            do_sample=False,
        )
    return out[0, ids.shape[1] :].tolist()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def exact() -> TransformersBackend:
    """float32, so that reading the prompt in pieces and at once agree to the token."""
    backend = TransformersBackend(catalog.bundled(), "float32", pool=state.shared_process().pool)
    run(backend, prompt_of(("hello", ())))
    return backend


def test_the_answer_depends_on_the_picture(backend: TransformersBackend) -> None:
    assert run(backend, prompt_of(("What color is the circle?", ["red"])))[0] == "Red."
    assert run(backend, prompt_of(("What color is the circle?", ["green"])))[0] == "Green."
    assert run(backend, prompt_of(("What shape is in the image?", ["red"])))[0] == "Circle."


def test_progress_comes_first_and_statistics_last(backend: TransformersBackend) -> None:
    text, stats, events = run(backend, prompt_of(("What color is the circle?", ["red"])))
    kinds = [type(e) for e in events]
    assert kinds.index(Delta) > kinds.index(Progress) and kinds.count(Stats) == 1
    assert stats.stop_reason == "end" and stats.image_tokens == 180 and stats.prompt_tokens > 190
    assert (
        stats.new_tokens == 3
        and stats.time_to_first_token_seconds
        and stats.total_seconds >= stats.time_to_first_token_seconds
    )
    assert stats.peak_memory_bytes > 10**6 and len(stats.prompt_fingerprint) == 64


def test_tokens_are_those_of_plain_generate(exact: TransformersBackend) -> None:
    """Guards the prompt read in pieces, the cache kept over turns, and the slots of several pictures."""
    tokenizer = exact.handle.loaded.tokenizer  # type: ignore[union-attr]
    conversations = [
        prompt_of(("Describe the image.", ["red"])),
        prompt_of(("Describe the image.", ["red"]), "A large red circle.", ("What color is it?", ())),
        prompt_of(("Describe each image.", ["blue", "green"])),
        prompt_of(("Describe each image.", ["blue", "red"])),
        prompt_of(("Describe the image.", ["blue"])),
        prompt_of(("hello", ())),
    ]
    for prompt in conversations:
        text, stats, _ = run(exact, prompt, GenerationSettings(max_new_tokens=24))
        wanted = tokenizer.decode(reference(exact, prompt, 24), skip_special_tokens=True).strip()
        assert text.strip() == wanted, (prompt.text, stats.reused_tokens)


def test_a_follow_up_reads_only_what_is_new(exact: TransformersBackend) -> None:
    answer, first, _ = run(exact, prompt_of(("What color is the circle?", ["green"])))
    _, second, _ = run(exact, prompt_of(("What color is the circle?", ["green"]), answer, ("What shape is it?", ())))
    assert second.reused_tokens >= first.prompt_tokens
    _, other, _ = run(exact, prompt_of(("What color is the circle?", ["yellow"])))
    assert other.reused_tokens < 10, "another picture must not be answered from the cache"


def test_sampling_is_repeatable_by_its_seed(backend: TransformersBackend) -> None:
    prompt = prompt_of(("Describe the image.", ["blue"]))
    warm = GenerationSettings(temperature=1.5, top_p=0.95, seed=3, max_new_tokens=40)
    one, two = run(backend, prompt, warm)[0], run(backend, prompt, warm)[0]
    others = {run(backend, prompt, replace(warm, seed=s))[0] for s in range(4, 12)}
    assert one == two and len(others) > 1


def test_gumbel_noise_samples_the_right_distribution() -> None:
    from smolvlm_core.engine.sampling import sampling

    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    draw = sampling(GenerationSettings(temperature=1.0, seed=0), "cpu")
    counts = torch.bincount(
        torch.tensor([draw(torch.zeros(1, 1, dtype=torch.long), scores.clone()).argmax().item() for _ in range(4000)]),
        minlength=4,
    )
    assert torch.allclose(counts / 4000, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03)


def test_the_longest_answer_and_the_repetition_penalty_count(backend: TransformersBackend) -> None:
    prompt = prompt_of(("Describe each image.", ["red", "blue", "green"]))
    _text, stats, _ = run(backend, prompt, GenerationSettings(max_new_tokens=2))
    assert stats.new_tokens == 2 and stats.stop_reason == "length"
    assert run(backend, prompt, GenerationSettings(repetition_penalty=3.0))[0] != run(backend, prompt)[0]


@pytest.mark.parametrize("field", ["max_new_tokens", "temperature", "top_p", "repetition_penalty", "seed"])
def test_settings_out_of_range_say_what_is_allowed(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is -1; .* is allowed"):
        GenerationSettings(**{field: -1})


def test_cancel_in_mid_answer_takes_effect_within_a_token(backend: TransformersBackend) -> None:
    cancel, got, after = threading.Event(), 0, 0
    for event in backend.generate(
        prompt_of(("Describe each image.", ["red", "blue", "green"])), GenerationSettings(), cancel
    ):
        if isinstance(event, Delta):
            after += cancel.is_set()
            got += 1
            if got == 3:
                cancel.set()
        if isinstance(event, Stats):
            assert event.stop_reason == "cancelled" and event.new_tokens <= 3 + after + 1
    assert after <= 2  # one that was on its way and one in the making


def test_cancel_before_the_first_token(backend: TransformersBackend) -> None:
    cancel = threading.Event()
    events = []
    for event in backend.generate(
        prompt_of(("Describe each image.", ["green", "blue", "red"])), GenerationSettings(), cancel
    ):
        events.append(event)
        if isinstance(event, Progress) and "tile" in event.text:
            cancel.set()
    assert isinstance(events[-1], Stats) and events[-1].stop_reason == "cancelled" and events[-1].new_tokens == 0
    assert not any(isinstance(e, Delta) for e in events)
    assert run(backend, prompt_of(("What color is the circle?", ["red"])))[0] == "Red.", "the next answer is whole"


def test_cancel_while_waiting_and_places_in_the_queue(backend: TransformersBackend) -> None:
    gate, started = threading.Event(), threading.Event()
    backend.handle.worker.submit(lambda: (started.set(), gate.wait(20)))
    assert started.wait(5)
    cancel, seen = threading.Event(), []
    for event in backend.generate(prompt_of(("hello", ())), GenerationSettings(), cancel):
        seen.append(event)
        if isinstance(event, Progress):
            assert event.text == "Waiting: 1 before you"
            cancel.set()
    gate.set()
    assert isinstance(seen[-1], Stats) and seen[-1].stop_reason == "cancelled"


def test_a_listener_that_leaves_stops_the_run(backend: TransformersBackend) -> None:
    cancel = threading.Event()
    events = backend.generate(
        prompt_of(("Describe each image.", ["red", "blue", "green"])), GenerationSettings(), cancel
    )
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert cancel.is_set()
    deadline = time.monotonic() + 20
    while backend.handle.worker.busy and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert not backend.handle.worker.busy


def test_concurrent_sessions_get_their_own_answers(backend: TransformersBackend) -> None:
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = run(
            backend, prompt_of(("What color is the shape?", ["red", "blue", "green"][number % 3 : number % 3 + 1]))
        )[0]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[n] for n in range(9)] == ["Red.", "Blue.", "Green."] * 3
    loaders = [handle.loader for handle in state.shared_process().pool.loaded()]
    bundled = [one for one in loaders if isinstance(one, ModelLoader) and one.spec == catalog.bundled()]
    assert [one.dtype for one in bundled].count("bfloat16") == 1


def test_what_does_not_fit_is_refused_before_it_starts(backend: TransformersBackend) -> None:
    with pytest.raises(ContextTooSmall, match="take 2,160 tokens; .* has room for 2,048") as caught:
        run(backend, prompt_of(("What?", ["red"] * 12)))
    assert "fewer" in caught.value.hint
    with pytest.raises(ContextTooSmall, match="has room for 2,048"):
        run(backend, prompt_of(("word " * 3000, ())))
    _, stats, _ = run(backend, prompt_of(("What? " * 1010, ())), GenerationSettings(max_new_tokens=256))
    assert stats.prompt_tokens + stats.new_tokens <= 2048


def test_a_clip_is_one_tile_a_frame_and_its_answer_depends_on_it(backend: TransformersBackend) -> None:
    for color, answer in (("red", "Red."), ("blue", "Blue.")):
        frames = {f"{color}{i}": Image.new("RGB", (160, 90), "white") for i in range(4)}
        for i, frame in enumerate(frames.values()):
            ImageDraw.Draw(frame).ellipse((10 + 30 * i, 30, 50 + 30 * i, 70), fill=color)
        refs = tuple(FrameRef(i * 0.5, i, key) for i, key in enumerate(frames))
        clip = Attachment(
            kind="video",
            sha256="v",
            name="clip.mp4",
            mime="video/mp4",
            width=160,
            height=90,
            duration_seconds=2,
            frames=refs,
        )
        text, stats, _ = run(
            backend, build_prompt([Message("user", "What color is the circle?", (clip,))], frames.__getitem__)
        )
        assert stats.image_tokens == 4 * 36 and text == answer


def test_the_order_of_a_clips_frames_decides_where_it_goes(backend: TransformersBackend) -> None:
    """The same pictures forwards and backwards: what tells them apart is their order alone."""
    frames = {f"f{i}": Image.new("RGB", (160, 90), "white") for i in range(6)}
    for i, frame in enumerate(frames.values()):
        ImageDraw.Draw(frame).ellipse((5 + 20 * i, 25, 45 + 20 * i, 65), fill="red")
    for names, answer in ((list(frames), "To the right."), (list(frames)[::-1], "To the left.")):
        refs = tuple(FrameRef(i * 0.5, i, name) for i, name in enumerate(names))
        clip = Attachment(
            kind="video",
            sha256="v",
            name="clip.mp4",
            mime="video/mp4",
            width=160,
            height=90,
            duration_seconds=3,
            frames=refs,
        )
        asked = Message("user", "In which direction does the circle move?", (clip,))
        assert run(backend, build_prompt([asked], frames.__getitem__))[0] == answer


def test_without_a_picture_it_says_that_it_sees_none(backend: TransformersBackend) -> None:
    assert run(backend, prompt_of(("What color is the circle?", ())))[0].startswith("I see no image.")
    assert run(backend, prompt_of(("hello", ())))[0].startswith("Hello!")
