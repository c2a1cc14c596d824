"""How soon SmolVLM2 answers on this machine: plain transformers, this project's engine, llama-server, and both together.

    python -m benchmarks.speed                                   (the bundled checkpoint)
    python -m benchmarks.speed --checkpoint FOLDER --out speed.json

All get the same checkpoint, pictures and prompt, in turns, so that a change of the machine's speed meets all of them. Pictures
are new in each round, so no cache helps where none should. Medians and ratios of one run.

With `--questions N`, each one's greedy answers are compared with plain transformers' on the bundled checkpoint: N questions of
the test split of easy-VQA. No speed counts that changes answers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smolvlm_core.backends.base import Backend, collect
from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.paths import BUNDLED_CHECKPOINT, default_gguf_folder
from smolvlm_core.prompt.build import Prompt, build_prompt
from smolvlm_core.prompt.generation import Delta, Event, GenerationSettings
from smolvlm_core.prompt.messages import Attachment, FrameRef, Message
from smolvlm_core.workspace import Workspace

PLAIN, ENGINE, SERVER, HYBRID, HYBRID_Q8 = (
    "plain transformers",
    "transformers, our engine",
    "llama-server F16",
    "hybrid F16",
    "hybrid Q8_0",
)
PHOTO = (600, 400)  # px
FRAMES, FRAME = 8, (320, 180)
SESSIONS = 8
ANSWER = GenerationSettings(max_new_tokens=48)


@dataclass(frozen=True)
class Measured:
    """Seconds to the first token, tokens a second, and seconds in all."""

    first: float
    speed: float
    total: float


Ask = Callable[[Prompt], Measured]
_run = int(time.time())  # other pictures in each run: features are kept on disk
_pictures: dict[str, Image.Image] = {}


def picture(size: tuple[int, int], seed: int) -> tuple[str, Image.Image]:
    """A new picture with as many tiles as a photo of its size. What it shows does not change what it costs."""
    rng = np.random.default_rng([_run, seed])
    small = Image.fromarray(rng.integers(0, 256, (12, 18, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    key = hashlib.sha256(image.tobytes()).hexdigest()
    _pictures[key] = image
    return key, image


def photo(seed: int, *said: str) -> Prompt:
    """`said`: questions and answers in turn, the last one a question."""
    key, image = picture(PHOTO, seed)
    shown = Attachment(kind="image", sha256=key, name="p", mime="image/png", width=image.width, height=image.height)
    messages = [
        Message("user" if i % 2 == 0 else "assistant", text, (shown,) if i == 0 else ()) for i, text in enumerate(said)
    ]
    return build_prompt(messages, _pictures.__getitem__)


def clip(seed: int, question: str) -> Prompt:
    keys = [picture(FRAME, seed * 1000 + i)[0] for i in range(FRAMES)]
    refs = tuple(FrameRef(float(i), i, key) for i, key in enumerate(keys))
    shown = Attachment(
        kind="video",
        sha256=str(seed),
        name="clip.mp4",
        mime="video/mp4",
        width=FRAME[0],
        height=FRAME[1],
        duration_seconds=float(FRAMES),
        frames=refs,
    )
    return build_prompt([Message("user", question, (shown,))], _pictures.__getitem__)


def through(backend: Backend) -> Ask:
    def ask(prompt: Prompt) -> Measured:
        began = time.perf_counter()
        first, count, last = 0.0, 0, began
        for event in backend.generate(prompt, ANSWER, threading.Event()):
            if isinstance(event, Delta):
                last = time.perf_counter()
                first, count = first or last, count + 1
            stats: Event = event
        speed = getattr(stats, "tokens_per_second", None) or 0.0
        told = getattr(stats, "time_to_first_token_seconds", None)
        return Measured((first - began) if first else (told or 0.0), speed, time.perf_counter() - began)

    return ask


def plain(backend: Any) -> Ask:
    """The model as transformers' documentation runs it: everything at once, nothing kept."""

    def ask(prompt: Prompt) -> Measured:
        return _generate_plainly(backend, prompt)[1]

    return ask


def _generate_plainly(backend: Any, prompt: Prompt) -> tuple[str, Measured]:
    import torch

    from smolvlm_core.engine.encoding import encode_prompt
    from smolvlm_core.engine.sampling import streamer

    loaded = backend.handle.loaded
    began, times = time.perf_counter(), []
    made = encode_prompt(prompt, backend.spec, loaded.tokenizer, loaded.image_processor)
    ids, tiles = torch.tensor([made.ids]), made.tiles
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **({"pixel_values": tiles.unsqueeze(0)} if tiles is not None else {}),
            max_new_tokens=ANSWER.max_new_tokens,
            do_sample=False,
            streamer=streamer(lambda text: times.append(time.perf_counter()), loaded.tokenizer),
        )
    text = loaded.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
    speed = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
    return text, Measured(times[0] - began, speed, time.perf_counter() - began)


def measure(asks: dict[str, Ask], rounds: int) -> dict[str, dict[str, list[float]]]:
    """{scenario: {system: values}}. Seconds; tokens a second for decoding."""
    out: dict[str, dict[str, list[float]]] = {}

    def note(scenario: str, system: str, value: float) -> None:
        out.setdefault(scenario, {}).setdefault(system, []).append(value)
        print(f"  {scenario}: {system} {value:.2f}", flush=True)

    for round_ in range(rounds):
        for number, (system, ask) in enumerate(asks.items()):
            one = 10 * (len(asks) * round_ + number) + 1  # own pictures for each: those of this project share a cache
            other = one + 1
            first = ask(photo(one, "Describe the image."))
            note("photo: first token", system, first.first)
            note("decode, tokens a second", system, first.speed)
            note(
                "second question: first token",
                system,
                ask(photo(one, "Describe the image.", "It is.", "What color?")).first,
            )
            ask(photo(other, "Describe the image."))
            note(
                "back to an earlier photo: first token",
                system,
                ask(photo(one, "Describe the image.", "It is.", "Why?")).first,
            )
            note("8 frames: first token", system, ask(clip(one, "What happens?")).first)
    return out


def sessions(ask: Ask, seed: int, pictures: int) -> tuple[float, float, float]:
    """(seconds one after another, seconds at once, longest wait for a first token at once) of questions about seen pictures."""
    said = ("Describe the image.", "It is.")
    for i in range(pictures):
        ask(photo(seed + i, "Describe the image."))

    def about(i: int, question: str) -> Prompt:
        return photo(seed + i % pictures, *said, question)

    began = time.perf_counter()
    for i in range(SESSIONS):
        ask(about(i, f"What color is part {i}?"))
    alone, waits = time.perf_counter() - began, []
    threads = [
        threading.Thread(target=lambda i=i: waits.append(ask(about(i, f"What shape is part {i}?")).first))
        for i in range(SESSIONS)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return alone, time.perf_counter() - began, max(waits)


def agreement(backends: dict[str, Backend], reference: Any, count: int) -> dict[str, tuple[int, int]]:
    """{system: (answers equal to plain transformers', asked)}: the parity set, on the bundled checkpoint."""
    from benchmarks.parity import questions

    asked = questions(count // 14, count // 10)[:count]  # about ten questions a picture of easy-VQA, eight a scene
    same = dict.fromkeys(backends, 0)
    for done, question in enumerate(asked, start=1):
        wanted = _generate_plainly(reference, question.prompt)[0]
        for name, backend in backends.items():
            reply = collect(backend.generate(question.prompt, ANSWER, threading.Event()))
            same[name] += reply.text.strip() == wanted
        if done % 100 == 0:
            print(f"  equal answers after {done} questions: {same}", flush=True)
    return {name: (value, len(asked)) for name, value in same.items()}


def table(measured: dict[str, dict[str, list[float]]], others: dict[str, dict[str, str]]) -> str:
    """Medians as a Markdown table; in brackets, how many times better than llama-server."""
    systems = list(next(iter(measured.values())))
    lines = ["| | " + " | ".join(systems) + " |", "|---" * (len(systems) + 1) + "|"]
    for scenario, values in measured.items():
        medians = {name: statistics.median(v) for name, v in values.items()}
        cells = []
        for name in systems:
            faster = medians[name] / medians[SERVER] if "tokens" in scenario else medians[SERVER] / medians[name]
            unit = "" if "tokens" in scenario else " s"
            shown = f"{medians[name]:.0f}" if "tokens" in scenario else f"{medians[name]:.2f}"
            cells.append(f"{shown}{unit} ({faster:.2f} ×)" if name != SERVER else f"{shown}{unit}")
        lines.append(f"| {scenario} | " + " | ".join(cells) + " |")
    for what, row in others.items():
        lines.append(f"| {what} | " + " | ".join(row.get(name, "–") for name in systems) + " |")
    return "\n".join(lines)


def machine() -> str:
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"


def systems_of(workspace: Workspace, checkpoint: Path) -> dict[str, Backend]:
    """The backends, loaded and warm: encoders are tried, text models converted."""
    quantized = convert(checkpoint, default_gguf_folder(checkpoint, checkpoint.name), ["Q8_0"], name=checkpoint.name)
    registry = workspace.registry
    backends = {
        ENGINE: registry.make(str(checkpoint)),
        SERVER: registry.make(str(quantized.texts[0].path)),
        HYBRID: registry.make(f"hybrid:{checkpoint}"),
        HYBRID_Q8: registry.make(f"hybrid:{checkpoint}", "Q8_0"),
    }
    for number, (name, backend) in enumerate(backends.items()):
        print(f"warming up: {name}", flush=True)
        through(backend)(photo(900_000 + number, "Describe the image."))  # a new picture: its encoder is needed
        print(f"  {backend.status().text}", flush=True)
    return backends


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--sessions", action=argparse.BooleanOptionalAction, default=True, help="time 8 sessions at once"
    )
    parser.add_argument("--questions", type=int, default=0, help="compare answers on the bundled checkpoint")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        os.environ["SMOLVLM_LENS_DATA"] = os.environ.get("SMOLVLM_LENS_DATA", data)
        workspace = Workspace()
        try:
            report = run(workspace, args)
        finally:
            workspace.close()
    print(f"\n{report['machine']}, {args.checkpoint.name}\n\n{report['table']}")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1))


def run(workspace: Workspace, args: argparse.Namespace) -> dict[str, Any]:
    backends = systems_of(workspace, args.checkpoint.resolve())
    asks = {PLAIN: plain(backends[ENGINE]), **{name: through(backend) for name, backend in backends.items()}}
    measured = measure(asks, args.rounds)
    others: dict[str, dict[str, str]] = {}
    for number, name in enumerate((SERVER, HYBRID) if args.sessions else ()):
        for pictures in (SESSIONS, 1):
            alone, together, wait = sessions(asks[name], 500_000 + 1000 * number + 100 * pictures, pictures)
            what = f"{SESSIONS} sessions, {pictures} seen photo{'s' if pictures > 1 else ''}"
            others.setdefault(f"{what}: one after another → at once", {})[name] = f"{alone:.1f} → {together:.1f} s"
            others.setdefault(f"{what}: longest wait for a first token", {})[name] = f"{wait:.1f} s"
            print(
                f"  {what}: {name}: {alone:.1f} s in turns, {together:.1f} s at once, longest wait {wait:.1f} s",
                flush=True,
            )
    equal: dict[str, tuple[int, int]] = {}
    if args.questions:
        bundled = systems_of(workspace, BUNDLED_CHECKPOINT)
        equal = agreement(bundled, bundled[ENGINE], args.questions)
        others["answers equal to plain transformers' (bundled checkpoint)"] = {
            name: f"{same} of {asked}" for name, (same, asked) in equal.items()
        }
    return {
        "machine": machine(),
        "checkpoint": args.checkpoint.name,
        "encoder": backends[ENGINE].status().text,
        "measured": measured,
        "equal_answers": equal,
        "table": table(measured, others),
    }


if __name__ == "__main__":
    main()
