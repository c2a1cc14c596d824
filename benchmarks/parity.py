"""Compares the answers of llama.cpp and transformers, and of quantized models. Updates docs/parity.md and docs/quantization.md.

    python -m benchmarks.parity                                        (the bundled checkpoint)
    python -m benchmarks.parity --checkpoint F --random-checkpoint G   (another checkpoint, and one with random weights)

transformers in bf16 and llama-server with each pair of files get the same questions: the test split of easy-VQA, and
scenes and clips drawn from seeds that training never uses. Greedy answers must match exactly. For the first token, the
log-probabilities of the ten tokens that transformers ranks highest are compared. Random weights give no meaningful
answers, so only their log-probabilities are compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from smolvlm_core.backends.base import Backend, Delta, collect
from smolvlm_core.backends.llama_cpp import LlamaCppBackend
from smolvlm_core.backends.remote.http import authorization
from smolvlm_core.backends.remote.llama_completion import completion_request, server_properties
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.engine.encoding import encode_prompt
from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.llamacpp.gguf import read_gguf, spec_of
from smolvlm_core.llamacpp.programs import find_server
from smolvlm_core.llamacpp.server import ServerOptions
from smolvlm_core.models.catalog import bundled, from_folder
from smolvlm_core.models.load import LoadedModel
from smolvlm_core.prompt.build import Prompt, Turn, build_prompt
from smolvlm_core.prompt.generation import GenerationSettings, Stats
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.work.pool import Pool
from training.evaluate import Item, conversation, easy_items, frame_items, scene_items, several_items

DOCS = Path(__file__).resolve().parent.parent / "docs"
TOP = 10
QUANTIZED = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
SETTINGS = GenerationSettings(max_new_tokens=48)


@dataclass
class Asked:
    group: str
    prompt: Prompt
    expected: str
    first: bool  # the first question about its images


@dataclass
class Column:
    """One backend's answers and, where measured, first-token log-probabilities {token: log-probability}."""

    name: str
    answers: list[str] = field(default_factory=list)
    first_tokens: list[dict[int, float]] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    image_tokens: list[int] = field(default_factory=list)
    seconds: float = 0.0
    tokens_per_second: list[float] = field(default_factory=list)
    megabytes: float = 0.0
    memory_bytes: int = 0  # peak of the process that runs the model


def questions(easy: int, scenes: int) -> list[Asked]:
    groups: list[tuple[str, Iterable[Item]]] = [
        ("easy-VQA test", easy_items(easy)),
        ("drawn scenes", scene_items(scenes)),
        ("several images", several_items(scenes // 4)),
        ("clips", frame_items(scenes // 2)),
    ]
    out = []
    for group, items in groups:
        for item in items:
            for n, question in enumerate(item.asked):
                messages, by_key = conversation(item, item.pictures, question.text)
                out.append(Asked(group, build_prompt(messages, by_key.__getitem__), question.answer, n == 0))
    return out


def run(
    name: str, backend: Backend, asked: Sequence[Asked], change: Callable[[Prompt], Prompt] | None = None
) -> Column:
    column = Column(name)
    began = time.perf_counter()
    for n, question in enumerate(asked):
        prompt = change(question.prompt) if change else question.prompt
        answer = ""
        for event in backend.generate(prompt, SETTINGS, threading.Event()):
            if isinstance(event, Delta):
                answer += event.text
            elif isinstance(event, Stats):
                column.prompt_tokens.append(event.prompt_tokens)
                column.image_tokens.append(event.image_tokens)
                column.tokens_per_second += [event.tokens_per_second] if event.tokens_per_second else []
                column.memory_bytes = max(column.memory_bytes, event.peak_memory_bytes)
        column.answers.append(answer.strip())
        if n % 100 == 99:
            print(f"{name}: {n + 1} of {len(asked)}, {time.perf_counter() - began:.0f} s", flush=True)
    column.seconds = time.perf_counter() - began
    return column


@torch.inference_mode()
def first_token_of_transformers(loaded: LoadedModel, backend: TransformersBackend, prompt: Prompt) -> dict[int, float]:
    """Log-probabilities of every possible next token, from one forward pass without the key-value cache."""
    encoded = encode_prompt(prompt, backend.spec, loaded.tokenizer, loaded.image_processor)
    model = loaded.model
    pixels = {} if encoded.tiles is None else {"pixel_values": encoded.tiles.unsqueeze(0).to(model.dtype)}
    logits = model(input_ids=torch.tensor([encoded.ids]), **pixels).logits[0, -1].float()
    return dict(enumerate(torch.log_softmax(logits, -1).tolist()))


def first_token_of_server(backend: LlamaCppBackend, prompt: Prompt, count: int = 5 * TOP) -> dict[int, float]:
    collect(backend.prepare(prompt, SETTINGS, threading.Event()))
    server = backend.handle.loaded
    assert server is not None
    mark = server_properties(server.url, server.api_key)["media_marker"] if prompt.slots else IMAGE
    body = completion_request(prompt, replace(SETTINGS, max_new_tokens=1), mark, backend.spec.geometry)
    # n_probs reports the model's own distribution. The bias forces the sampled token to be a full character: the server
    # reports no probabilities for half a character.
    body |= {"stream": False, "n_probs": count, "return_progress": False, "logit_bias": [["a", 1000.0]]}
    headers = authorization(server.api_key)
    answer = httpx.post(f"{server.url}/completion", json=body, headers=headers, timeout=600).json()
    return {p["id"]: p["logprob"] for p in answer["completion_probabilities"][0]["top_logprobs"]}


def without_images(prompt: Prompt) -> Prompt:
    """The prompt that arrives if something on the way drops the images."""
    return Prompt(tuple(Turn(t.role, t.content.replace(IMAGE, "")) for t in prompt.turns), ())


def llama(text: Path, projector: Path | None, context_tokens: int = 0) -> LlamaCppBackend:
    facts = read_gguf(text)
    spec = spec_of(facts, read_gguf(projector) if projector else None)
    return LlamaCppBackend(spec, ServerOptions(text, projector, context_tokens or spec.context_tokens), pool=Pool())


# --- tables -----------------------------------------------------------------------------------------------------------


def differences(reference: Column, column: Column) -> list[float]:
    """The largest difference per first token, over the TOP tokens of transformers that the server lists too."""
    out = []
    for ours, theirs in zip(reference.first_tokens, column.first_tokens):
        likeliest = sorted(ours, key=lambda t: -ours[t])[:TOP]
        known = [abs(ours[t] - theirs[t]) for t in likeliest if t in theirs and ours[t] > np.log(0.01)]
        out.append(max(known, default=0.0))
    return out


def share(hits: Iterable[bool]) -> str:
    values = list(hits)
    return f"{100 * sum(values) / len(values):.1f}" if values else "–"


def table(asked: Sequence[Asked], columns: Sequence[Column]) -> str:
    groups = list(dict.fromkeys(a.group for a in asked))
    head = [
        "backend",
        "same answers",
        *(f"{g}: same / right" for g in groups),
        "first token: median, largest",
        "s",
        "MiB",
    ]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    reference = columns[0]
    for column in columns:
        same = [a == b for a, b in zip(reference.answers, column.answers)]
        right = [a == q.expected for a, q in zip(column.answers, asked)]
        cells = [column.name, share(same)]
        for group in groups:
            mine = [i for i, q in enumerate(asked) if q.group == group]
            cells.append(f"{share(same[i] for i in mine)} / {share(right[i] for i in mine)}")
        gaps = differences(reference, column)
        cells.append(f"{statistics.median(gaps):.3f}, {max(gaps):.3f}" if gaps and column is not reference else "–")
        cells += [f"{column.seconds:.0f}", f"{column.megabytes:.1f}" if column.megabytes else "–"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def quantization_table(asked: Sequence[Asked], columns: Sequence[Column]) -> str:
    """Separate columns for images and clips, because llama-server always splits frames differently from transformers."""
    rows = [
        "| text model and projector | pictures: right | same as bf16 | clips: right | same as F16 | tokens/s | memory, MiB | files, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    pictures = [i for i, q in enumerate(asked) if q.group != "clips"]
    clips = [i for i, q in enumerate(asked) if q.group == "clips"]
    for column in columns:
        if not column.megabytes:
            continue
        right = [a == q.expected for a, q in zip(column.answers, asked)]
        same, same_f16 = ([a == b for a, b in zip(other.answers, column.answers)] for other in columns[:2])
        speed = statistics.median(column.tokens_per_second)
        cells = [column.name, share(right[i] for i in pictures), share(same[i] for i in pictures)]
        cells += [share(right[i] for i in clips), share(same_f16[i] for i in clips)]
        cells += [f"{speed:.0f}", f"{column.memory_bytes / 2**20:.0f}", f"{column.megabytes:.1f}"]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def token_table(asked: Sequence[Asked], reference: Column, served: Column) -> str:
    rows = [
        "| questions | prompts of equal length | tokens, transformers | tokens, llama-server |",
        "|---|---|---|---|",
    ]
    for group in dict.fromkeys(a.group for a in asked):
        mine = [i for i, q in enumerate(asked) if q.group == group]
        equal = sum(reference.prompt_tokens[i] == served.prompt_tokens[i] for i in mine)
        mean = [statistics.mean(c.prompt_tokens[i] for i in mine) for c in (reference, served)]
        rows.append(f"| {group} | {equal} of {len(mine)} | {mean[0]:.0f} on average | {mean[1]:.0f} on average |")
    return "\n".join(rows)


def random_checkpoint(folder: Path, out: Path) -> str:
    """First-token differences for a full-size checkpoint with random weights, whose answers mean nothing."""
    converted = convert(folder, out)
    assert converted.projector is not None
    spec = converted.spec
    ours = TransformersBackend(from_folder(folder), "float32", pool=Pool())
    theirs = llama(converted.texts[0].path, converted.projector.path)
    rng = np.random.default_rng(0)
    rows = ["| prompt | tokens | largest difference of the 10 likeliest first tokens |", "|---|---|---|"]
    for label, sizes in (("text", []), ("a 16:9 picture", [(640, 360)]), ("two pictures", [(512, 512), (300, 400)])):
        pictures = [
            Image.fromarray(rng.integers(0, 256, (h // 20, w // 20, 3), np.uint8)).resize((w, h)) for w, h in sizes
        ]
        item = Item("random", pictures, [])
        messages, by_key = conversation(item, pictures, "What is in the picture?")
        prompt = build_prompt(messages, by_key.__getitem__)
        collect(ours.prepare(prompt, SETTINGS, threading.Event()))
        loaded = ours.handle.loaded
        assert loaded is not None
        mine = first_token_of_transformers(loaded, ours, prompt)
        other = first_token_of_server(theirs, prompt)
        stats = [e for e in theirs.generate(prompt, replace(SETTINGS, max_new_tokens=1), threading.Event())][-1]
        count = len(encode_prompt(prompt, spec, loaded.tokenizer, loaded.image_processor).ids)
        assert isinstance(stats, Stats)
        likeliest = sorted(mine, key=lambda t: -mine[t])[:TOP]
        gaps = max(abs(mine[t] - other[t]) for t in likeliest if t in other)
        rows.append(f"| {label} | {count} and {stats.prompt_tokens} | {gaps:.3f} |")
        print(rows[-1], flush=True)
    theirs.close()
    ours.close()
    return "\n".join(rows)


def measure(checkpoint: Path, asked: Sequence[Asked], every: int, out: Path) -> list[Column]:
    converted = convert(checkpoint, out, QUANTIZED)
    converted_q8 = convert(checkpoint, out, projector="q8_0")
    assert converted.projector is not None and converted_q8.projector is not None
    spec = bundled() if checkpoint == bundled().folder else from_folder(checkpoint)
    ours = TransformersBackend(spec, pool=Pool())
    columns = [run("transformers bf16", ours, asked)]
    loaded = ours.handle.loaded
    assert loaded is not None
    columns[0].megabytes = spec.weights_bytes / 2**20
    sample = [q.prompt for q in asked[::every]]
    columns[0].first_tokens = [first_token_of_transformers(loaded, ours, prompt) for prompt in sample]
    ours.close()
    pairs: list[tuple[str, Path, Path]] = [
        (f"{text.path.stem.rsplit('-', 1)[1]} + projector F16", text.path, converted.projector.path)
        for text in converted.texts
    ]
    pairs.insert(1, ("F16 + projector Q8_0", converted.texts[0].path, converted_q8.projector.path))
    for name, text, projector in pairs:
        backend = llama(text, projector)
        column = run(f"llama.cpp {name}", backend, asked)
        column.first_tokens = [first_token_of_server(backend, prompt) for prompt in sample]
        column.megabytes = (text.stat().st_size + projector.stat().st_size) / 2**20
        columns.append(column)
        backend.close()
    alone = llama(converted.texts[0].path, None)
    columns.append(run("llama.cpp F16, text model alone, pictures dropped", alone, asked, without_images))
    alone.close()
    return columns


def frames_table(checkpoint: Path, out: Path, count: int) -> str:
    """Cost and accuracy of frames as one tile (transformers), as one tile plus overview, and as full tiles (llama-server)."""
    converted = convert(checkpoint, out)
    assert converted.projector is not None
    asked = [a for a in questions(0, 2 * count) if a.group == "clips"]
    spec = bundled() if checkpoint == bundled().folder else from_folder(checkpoint)
    backend = llama(converted.texts[0].path, converted.projector.path)

    def tiled(prompt: Prompt) -> Prompt:
        slots = []
        for slot in prompt.slots:
            square = slot.open().resize((spec.geometry.tile, spec.geometry.tile), Image.Resampling.LANCZOS)
            shown = {"width": spec.geometry.tile, "height": spec.geometry.tile, "tiled": True}
            slots.append(replace(slot, **shown, open=lambda picture=square: picture))
        return Prompt(prompt.turns, tuple(slots))

    ours = TransformersBackend(spec, pool=Pool())
    columns = [
        run("transformers bf16, one tile", ours, asked),
        run("llama.cpp F16, one tile and overview (used)", backend, asked),
        run("llama.cpp F16, as pictures", backend, asked, tiled),
    ]
    backend.close()
    ours.close()
    rows = ["| frames as | image tokens a clip | right | same as transformers | s |", "|---|---|---|---|---|"]
    for column in columns:
        tokens = statistics.mean(column.image_tokens)
        right = share(a == q.expected for a, q in zip(column.answers, asked))
        same = share(a == b for a, b in zip(columns[0].answers, column.answers))
        rows.append(f"| {column.name} | {tokens:.0f} | {right} | {same} | {column.seconds:.0f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--checkpoint", type=Path, default=bundled().folder)
    parser.add_argument("--random-checkpoint", type=Path, help="a full-size checkpoint with random weights")
    parser.add_argument("--easy", type=int, default=60, help="number of easy-VQA images, with about ten questions each")
    parser.add_argument("--scenes", type=int, default=80, help="number of drawn scenes; half as many clips are added")
    parser.add_argument("--every", type=int, default=8, help="compare log-probabilities for every n-th question")
    parser.add_argument("--out", type=Path, default=DOCS, help="the folder with parity.md and quantization.md")
    args = parser.parse_args()
    program = find_server()
    with tempfile.TemporaryDirectory() as folder:
        asked = questions(args.easy, args.scenes)
        print(f"{len(asked)} questions", flush=True)
        columns = measure(args.checkpoint, asked, args.every, Path(folder))
        parts = {
            "answers": table(asked, columns),
            "tokens": token_table(asked, columns[0], columns[1]),
            "frames": frames_table(args.checkpoint, Path(folder), args.scenes // 2),
        }
        if args.random_checkpoint:
            parts["random"] = random_checkpoint(args.random_checkpoint, Path(folder))
    facts: dict[str, Any] = {
        "questions": str(len(asked)),
        "sampled": str(len(asked[:: args.every])),
        "program": f"{program.short_version} ({program.version})",
        "checkpoint": args.checkpoint.name,
    }
    write(args.out / "parity.md", {**facts, **parts})
    quantization = {"quantization": quantization_table(asked, columns)}
    write(args.out / "quantization.md", {**facts, **quantization})


def write(path: Path, parts: dict[str, str]) -> None:
    """Replace the text between <!-- NAME --> and <!-- /NAME -->. Values without such markers, or without a file, are printed."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for name, value in parts.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start not in text:
            print(f"{name}:\n{value}")
            continue
        head, rest = text.split(start, 1)
        tail = rest.split(end, 1)[1]
        line = "\n" if "\n" in value else ""
        text = f"{head}{start}{line}{value}{line}{end}{tail}"
    if text:
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
