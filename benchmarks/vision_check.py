"""Measures how reliably the vision check separates working deployments from blind ones. Updates docs/vision-check.md.

    python -m benchmarks.vision_check --runs 100
    python -m benchmarks.vision_check --runs 100 --only noise ChatML     (only these; other rows stay as they are)

Needs llama.cpp. Every deployment runs the bundled model, either intact or broken in one way.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import shutil
import statistics
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks.parity import llama, write
from smolvlm_core.backends.base import Backend, Event
from smolvlm_core.backends.remote.openai import OpenAIBackend
from smolvlm_core.backends.transformers import TransformersBackend
from smolvlm_core.check import Verdict, check
from smolvlm_core.check.canaries import Subject
from smolvlm_core.llamacpp import server as server_module
from smolvlm_core.llamacpp.convert import convert
from smolvlm_core.llamacpp.programs import find_server
from smolvlm_core.llamacpp.server import LlamaServer, ServerOptions
from smolvlm_core.models.catalog import bundled, from_folder
from smolvlm_core.prompt.build import Prompt, Turn
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.prompt.template import IMAGE
from smolvlm_core.work.pool import Pool

HEAD = (
    "| deployment | expected | verdicts | wrong | right, pictures / clips | questions | seconds | reported cause |",
    "|---|---|---|---|---|---|---|---|",
)
REPORT = Path(__file__).resolve().parent.parent / "docs" / "vision-check.md"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{{ m['content'] | map(attribute='text') | join('') }}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


class TextFirst(OpenAIBackend):
    """A chat client that sends the question before the image."""

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        turns = tuple(Turn(t.role, t.content.replace(IMAGE, "") + IMAGE * t.content.count(IMAGE)) for t in prompt.turns)
        return super().generate(replace(prompt, turns=turns), settings, cancel)


@contextmanager
def dropping(url: str) -> Iterator[str]:
    """A proxy that claims vision support but removes the images from every request."""

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
    """The URL of a llama-server. `template` replaces the app's chat template."""
    ours = server_module.TEMPLATE
    server_module.TEMPLATE = template or ours
    try:
        server = LlamaServer.start(ServerOptions(text, projector, 2048), lambda *_: None)
    finally:
        server_module.TEMPLATE = ours
    yield server.url
    server.stop()


def changed(folder: Path, out: Path, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Path:
    """A copy of the checkpoint with changed weights."""
    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    save_file({n: change(n, w).contiguous() for n, w in weights.items()}, out / "model.safetensors", {"format": "pt"})
    return out


def is_vision_weight(name: str) -> bool:
    return "vision_model" in name or "connector" in name


def noisy(share: float) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Adds Gaussian noise to the vision weights, scaled to `share` of each tensor's standard deviation."""
    generator = torch.Generator().manual_seed(0)

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        if "vision_model" not in name or weight.dim() < 2:
            return weight
        noise = torch.randn(weight.shape, generator=generator) * weight.float().std() * share
        return (weight.float() + noise).to(weight.dtype)

    return change


def untrained(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Replaces the vision weights by random ones, like a projector of another, untrained checkpoint."""
    if not is_vision_weight(name) or weight.dim() < 2:
        return weight
    generator = torch.Generator().manual_seed(len(name))
    return (torch.randn(weight.shape, generator=generator) * weight.float().std()).to(weight.dtype)


def shuffled(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Permutes the inputs of the projector."""
    if "connector" not in name:
        return weight
    order = torch.from_numpy(np.random.default_rng(0).permutation(weight.shape[1]))
    return weight[:, order]


@dataclass(frozen=True)
class Deployment:
    """One way to deploy the bundled model.

    `expected` is the correct verdict, or "" if there is no single one. `build` registers servers on the stack, which stops them.
    """

    name: str
    expected: str
    build: Callable[[ExitStack], Backend]


class Deployments:
    """Converts the files that the deployments share."""

    def __init__(self, work: Path) -> None:
        self.work = work
        folder = bundled().folder
        assert folder is not None
        self.folder = folder
        self.converted = convert(folder, work / "intact", ["Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K"])
        assert self.converted.projector is not None
        self.text, self.projector = self.converted.texts[0].path, self.converted.projector.path

    def broken(self, name: str, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Backend:
        """The intact text model with the projector of a changed checkpoint."""
        converted = convert(changed(self.folder, self.work / name, change), self.work / f"{name} gguf")
        assert converted.projector is not None
        return llama(self.text, converted.projector.path)

    def all(self) -> list[Deployment]:
        text, projector = self.text, self.projector
        own_template = json.loads((self.folder / "chat_template.json").read_text())["chat_template"]

        def api(
            stack: ExitStack,
            projector: Path | None = projector,
            template: str | None = None,
            kind: type[OpenAIBackend] = OpenAIBackend,
        ) -> Backend:
            return kind(stack.enter_context(served(text, projector, template)))

        def dropped(stack: ExitStack) -> Backend:
            return OpenAIBackend(stack.enter_context(dropping(stack.enter_context(served(text, None)))))

        def quantized(path: Path) -> Callable[[ExitStack], Backend]:
            return lambda _: llama(path, projector)

        def with_noise(share: float) -> Callable[[ExitStack], Backend]:
            out = self.work / f"noise {share}"
            return lambda _: TransformersBackend(from_folder(changed(self.folder, out, noisy(share))), pool=Pool())

        return [
            Deployment("transformers bf16", "sees", lambda _: TransformersBackend(bundled(), pool=Pool())),
            Deployment("transformers fp32", "sees", lambda _: TransformersBackend(bundled(), "float32", pool=Pool())),
            Deployment("llama.cpp F16 + projector", "sees", quantized(text)),
            Deployment("the same by the OpenAI API", "sees", api),
            *(
                Deployment(f"llama.cpp {name} + projector", "sees" if name != "Q2_K" else "", quantized(file.path))
                for name, file in zip(("Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K"), self.converted.texts[1:])
            ),
            Deployment("text model alone, llama-server", "blind", lambda stack: api(stack, None)),
            Deployment("text model alone behind a proxy that drops pictures", "blind", dropped),
            Deployment(
                "projector: untrained eyes of the same dimensions",
                "blind",
                lambda _: self.broken("untrained eyes", untrained),
            ),
            Deployment("projector: its inputs shuffled", "blind", lambda _: self.broken("shuffled", shuffled)),
            Deployment("ChatML template", "", lambda stack: api(stack, template=CHATML)),
            Deployment(
                "question before picture, the model's own template",
                "",
                lambda stack: api(stack, template=own_template, kind=TextFirst),
            ),
            Deployment("question before picture, our template", "sees", lambda stack: api(stack, kind=TextFirst)),
            Deployment("context of 64 tokens (llama-server makes it 256)", "", lambda _: llama(text, projector, 64)),
            *(
                Deployment(
                    f"noise on the vision weights, {share:.0%} of their spread",
                    "sees" if share == 0.1 else "",
                    with_noise(share),
                )
                for share in (0.1, 0.2, 0.4, 0.8)
            ),
        ]


def random_name(checkpoint: Path) -> str:
    return f"{checkpoint.name}, random weights, llama.cpp F16 + projector (once)"


def of_random(checkpoint: Path, work: Path) -> str:
    """The row of a full-size checkpoint with random weights. It has all its files but is blind. Slow, so it runs once."""
    converted = convert(checkpoint, work / "random")
    assert converted.projector is not None
    backend = llama(converted.texts[0].path, converted.projector.path)
    runs = [check(backend, seed=0)]
    backend.close()
    return row(random_name(checkpoint), "blind", runs)


def row(name: str, expected: str, runs: list[Verdict]) -> str:
    counts = Counter(v.verdict for v in runs)
    verdicts = ", ".join(f"{verdict} {number}" for verdict, number in counts.most_common())
    right = " / ".join(share(runs, subject) for subject in ("shapes", "clips"))
    questions = f"{statistics.mean(len(v.asked) for v in runs):.0f}"
    seconds = f"{statistics.mean(v.seconds for v in runs):.1f}"
    wrong = sum(v.verdict != expected for v in runs) if expected else 0
    causes = Counter(v.cause for v in runs if v.cause)
    cause = causes.most_common(1)[0][0] if causes else ""
    return f"| {name} | {expected or '–'} | {verdicts} | {wrong if expected else '–'} | {right} | {questions} | {seconds} | {cause} |"


def share(runs: list[Verdict], subject: Subject) -> str:
    shown = [v.accuracy("its picture", subject) for v in runs]
    asked = sum(a for _, a in shown)
    return f"{sum(r for r, _ in shown) / asked:.0%}" if asked else "–"


def existing_rows(report: Path, setting: dict[str, str]) -> dict[str, str]:
    """The rows of the report by deployment. Empty if its number of runs, llama.cpp build or weights differ."""
    text = report.read_text(encoding="utf-8") if report.exists() else ""
    if any(f"<!-- {name} -->{value}<!-- /{name} -->" not in text for name, value in setting.items()):
        return {}
    rows = text.split("<!-- deployments -->")[1].split("<!-- /deployments -->")[0].strip().splitlines()[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[""],
        metavar="TEXT",
        help="run only deployments whose name contains one of these; other rows stay as they are",
    )
    parser.add_argument(
        "--random-checkpoint", type=Path, help="a full-size checkpoint with random weights, checked once"
    )
    parser.add_argument("--out", type=Path, default=REPORT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shared = Deployments(Path(folder))
        listed = shared.all()
        order = [deployment.name for deployment in listed]
        weights = hashlib.sha256((shared.folder / "model.safetensors").read_bytes()).hexdigest()[:12]
        setting = {"runs": str(args.runs), "program": find_server().short_version, "weights": weights}

        def report(name: str, line: str) -> None:
            """Print a row and save it to the report immediately, because all rows take hours."""
            print(line, flush=True)
            rows = {**existing_rows(args.out, setting), name: line}
            lines = [*HEAD, *(rows.pop(name) for name in order if name in rows), *rows.values()]
            write(args.out, {**setting, "deployments": "\n".join(lines)})

        for deployment in listed:
            if any(part in deployment.name for part in args.only):
                with ExitStack() as stack:
                    backend = deployment.build(stack)
                    runs = [check(backend, seed=seed) for seed in range(args.runs)]
                    backend.close()
                report(deployment.name, row(deployment.name, deployment.expected, runs))
        if args.random_checkpoint:
            report(random_name(args.random_checkpoint), of_random(args.random_checkpoint, shared.work))


if __name__ == "__main__":
    main()
