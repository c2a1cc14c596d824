"""Does the vision check tell seeing deployments from blind ones? Builds both for real; writes docs/vision-check.md.

    python benchmarks/vision_check.py --runs 100

Needs llama.cpp. Every deployment is the bundled model: whole, or broken in one way.
"""

from __future__ import annotations

import argparse
import http.server
import json
import shutil
import statistics
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.parity import llama, write
from smolvlm_core.backends.base import Backend, Event, GenerationSettings
from smolvlm_core.backends.openai_api import OpenAIBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.catalog import bundled, from_folder
from smolvlm_core.check import Verdict, check
from smolvlm_core.check.canaries import Subject
from smolvlm_core.convert import convert
from smolvlm_core.llama_programs import find_server
from smolvlm_core.prompt import Prompt, Turn
from smolvlm_core.servers import LlamaServer, ServerOptions
from smolvlm_core.servers import llama_server as server_module
from smolvlm_core.template import IMAGE

REPORT = Path(__file__).resolve().parent.parent / "docs" / "vision-check.md"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{{ m['content'] | map(attribute='text') | join('') }}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


class TextFirst:
    """A chat program that sends the question before the picture."""

    def __init__(self, inner: OpenAIBackend) -> None:
        self.inner, self.name, self.revision = inner, "text first", ""
        self.capabilities = inner.capabilities

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        turns = tuple(Turn(t.role, t.content.replace(IMAGE, "") + IMAGE * t.content.count(IMAGE)) for t in prompt.turns)
        return self.inner.generate(replace(prompt, turns=turns), settings, cancel)

    def close(self) -> None:
        pass


@contextmanager
def dropping(url: str) -> Iterator[str]:
    """A proxy that says it has vision and takes the pictures out of what it passes on."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            answer = httpx.get(url + self.path)
            body = answer.json()
            if "modalities" in body:
                body["modalities"]["vision"] = True
            self.reply(answer.status_code, "application/json", json.dumps(body).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for message in body["messages"]:
                if isinstance(message["content"], list):
                    message["content"] = [p for p in message["content"] if p["type"] == "text"]
            answer = httpx.post(url + self.path, json=body, timeout=60)
            self.reply(answer.status_code, answer.headers["content-type"], answer.content)

        def reply(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()


@contextmanager
def served(text: Path, projector: Path | None, template: str | None = None) -> Iterator[str]:
    """A llama-server; `template` in the place of ours."""
    ours = server_module.TEMPLATE
    server_module.TEMPLATE = template or ours
    try:
        server = LlamaServer.start(ServerOptions(text, projector, 2048), lambda *_: None)
    finally:
        server_module.TEMPLATE = ours
    yield server.url
    server.stop()


def changed(folder: Path, out: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    """A copy of the checkpoint with weights changed."""
    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    save_file({n: change(n, w).contiguous() for n, w in weights.items()}, out / "model.safetensors", {"format": "pt"})
    return out


def is_eyes(name: str) -> bool:
    return "vision_model" in name or "connector" in name


def noisy(share: float) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Gaussian noise on the vision weights, `share` of each tensor's own spread."""
    generator = torch.Generator().manual_seed(0)

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        if "vision_model" not in name or weight.dim() < 2:
            return weight
        noise = torch.randn(weight.shape, generator=generator) * weight.float().std() * share
        return (weight.float() + noise).to(weight.dtype)

    return change


def fresh(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Eyes that were never trained: of another checkpoint of the same dimensions."""
    if not is_eyes(name) or weight.dim() < 2:
        return weight
    generator = torch.Generator().manual_seed(len(name))
    return (torch.randn(weight.shape, generator=generator) * weight.float().std()).to(weight.dtype)


def shuffled(name: str, weight: torch.Tensor) -> torch.Tensor:
    """The projector's inputs in another order."""
    if "connector" not in name:
        return weight
    order = torch.from_numpy(np.random.default_rng(0).permutation(weight.shape[1]))
    return weight[:, order]


def deployments(work: Path, stack: ExitStack) -> Iterator[tuple[str, str, Backend]]:
    """(name, what is expected, backend), made one at a time."""
    folder = bundled().folder
    assert folder is not None
    made = convert(folder, work / "whole", ["Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K"])
    assert made.projector is not None
    text, eyes = made.texts[0].path, made.projector.path
    yield "transformers bf16", "sees", TransformersBackend(bundled())
    yield "transformers fp32", "sees", TransformersBackend(bundled(), "float32")
    yield "llama.cpp F16 + projector", "sees", llama(text, eyes)
    yield "the same by the OpenAI API", "sees", OpenAIBackend(stack.enter_context(served(text, eyes)))
    for name, file in zip(("Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K"), made.texts[1:]):
        yield f"llama.cpp {name} + projector", "sees" if name != "Q2_K" else "", llama(file.path, eyes)
    alone = stack.enter_context(served(text, None))
    yield "text model alone, llama-server", "blind", OpenAIBackend(alone)
    yield (
        "text model alone behind a proxy that drops pictures",
        "blind",
        OpenAIBackend(stack.enter_context(dropping(alone))),
    )
    for name, change in (("untrained eyes of the same dimensions", fresh), ("projector's inputs shuffled", shuffled)):
        broken = convert(changed(folder, work / name, change), work / f"{name} gguf")
        assert broken.projector is not None
        yield f"projector: {name}", "blind", llama(text, broken.projector.path)
    yield "ChatML template", "", OpenAIBackend(stack.enter_context(served(text, eyes, CHATML)))
    plain = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    yield (
        "question before picture, the model's own template",
        "",
        TextFirst(OpenAIBackend(stack.enter_context(served(text, eyes, plain)))),
    )
    yield "the same, our template", "sees", TextFirst(OpenAIBackend(stack.enter_context(served(text, eyes))))
    yield "context of 64 tokens (llama-server makes it 256)", "", llama(text, eyes, 64)
    for share in (0.1, 0.2, 0.4, 0.8):
        spec = from_folder(changed(folder, work / f"noise {share}", noisy(share)))
        expected = "sees" if share == 0.1 else ""
        yield f"noise on the vision weights, {share:.0%} of their spread", expected, TransformersBackend(spec)


def of_random(checkpoint: Path, work: Path) -> str:
    """A checkpoint of a real size whose weights are noise: it has all its files, and sees nothing. Asked once: it is slow."""
    made = convert(checkpoint, work / "random")
    assert made.projector is not None
    backend = llama(made.texts[0].path, made.projector.path)
    found = [check(backend, seed=0)]
    backend.close()
    return row(f"{checkpoint.name}, random weights, llama.cpp F16 + projector (once)", "blind", found)


def row(name: str, expected: str, found: list[Verdict]) -> str:
    counts = Counter(v.verdict for v in found)
    told = ", ".join(f"{verdict} {number}" for verdict, number in counts.most_common())
    right = " / ".join(share(found, subject) for subject in ("shapes", "clips"))
    questions = f"{statistics.mean(len(v.asked) for v in found):.0f}"
    seconds = f"{statistics.mean(v.seconds for v in found):.1f}"
    wrong = sum(v.verdict != expected for v in found) if expected else 0
    causes = Counter(v.cause for v in found if v.cause)
    cause = causes.most_common(1)[0][0] if causes else ""
    return f"| {name} | {expected or '–'} | {told} | {wrong if expected else '–'} | {right} | {questions} | {seconds} | {cause} |"


def share(found: list[Verdict], subject: Subject) -> str:
    shown = [v.accuracy("its picture", subject) for v in found]
    asked = sum(a for _, a in shown)
    return f"{sum(r for r, _ in shown) / asked:.0%}" if asked else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--random-checkpoint", type=Path, help="random weights of a real size, asked once")
    parser.add_argument("--out", type=Path, default=REPORT)
    args = parser.parse_args()
    rows = [
        "| deployment | expected | verdicts | wrong | right, pictures / clips | questions | seconds | cause told |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def tell(told: str) -> None:
        """Print it and write what there is so far: all of it takes an hour or two."""
        print(told, flush=True)
        rows.append(told)
        write(args.out, {"runs": str(args.runs), "program": find_server().told, "deployments": "\n".join(rows)})

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, expected, backend in deployments(Path(folder), stack):
            tell(row(name, expected, [check(backend, seed=seed) for seed in range(args.runs)]))
            backend.close()
        if args.random_checkpoint:
            tell(of_random(args.random_checkpoint, Path(folder)))


if __name__ == "__main__":
    main()
