"""Does the vision check tell seeing deployments from blind ones? Builds both for real; writes docs/vision-check.md.

    python -m benchmarks.vision_check --runs 100
    python -m benchmarks.vision_check --runs 100 --only noise ChatML     (these; the rows of the others stay)

Needs llama.cpp. Every deployment is the bundled model: whole, or broken in one way.
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
    "| deployment | expected | verdicts | wrong | right, pictures / clips | questions | seconds | cause told |",
    "|---|---|---|---|---|---|---|---|",
)
REPORT = Path(__file__).resolve().parent.parent / "docs" / "vision-check.md"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{{ m['content'] | map(attribute='text') | join('') }}{% endif %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


class TextFirst(OpenAIBackend):
    """A chat program that sends the question before the picture."""

    def generate(self, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Iterator[Event]:
        turns = tuple(Turn(t.role, t.content.replace(IMAGE, "") + IMAGE * t.content.count(IMAGE)) for t in prompt.turns)
        return super().generate(replace(prompt, turns=turns), settings, cancel)


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


@dataclass(frozen=True)
class Deployment:
    """`expected`: the verdict; empty where either can be right. `build`: servers live as long as the stack."""

    name: str
    expected: str
    build: Callable[[ExitStack], Backend]


class Workshop:
    """Makes the files, each once."""

    def __init__(self, work: Path) -> None:
        self.work = work
        folder = bundled().folder
        assert folder is not None
        self.folder = folder
        self.made = convert(folder, work / "whole", ["Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K"])
        assert self.made.projector is not None
        self.text, self.eyes = self.made.texts[0].path, self.made.projector.path

    def broken(self, name: str, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Backend:
        """Our text model with the projector of a changed checkpoint."""
        made = convert(changed(self.folder, self.work / name, change), self.work / f"{name} gguf")
        assert made.projector is not None
        return llama(self.text, made.projector.path)

    def deployments(self) -> list[Deployment]:
        text, eyes = self.text, self.eyes
        own_template = json.loads((self.folder / "chat_template.json").read_text())["chat_template"]

        def api(
            stack: ExitStack,
            projector: Path | None = eyes,
            template: str | None = None,
            kind: type[OpenAIBackend] = OpenAIBackend,
        ) -> Backend:
            return kind(stack.enter_context(served(text, projector, template)))

        def dropped(stack: ExitStack) -> Backend:
            return OpenAIBackend(stack.enter_context(dropping(stack.enter_context(served(text, None)))))

        def quantized(path: Path) -> Callable[[ExitStack], Backend]:
            return lambda _: llama(path, eyes)

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
                for name, file in zip(("Q8_0", "Q5_K_M", "Q4_K_M", "Q2_K"), self.made.texts[1:])
            ),
            Deployment("text model alone, llama-server", "blind", lambda stack: api(stack, None)),
            Deployment("text model alone behind a proxy that drops pictures", "blind", dropped),
            Deployment(
                "projector: untrained eyes of the same dimensions",
                "blind",
                lambda _: self.broken("untrained eyes", fresh),
            ),
            Deployment("projector: its inputs shuffled", "blind", lambda _: self.broken("shuffled", shuffled)),
            Deployment("ChatML template", "", lambda stack: api(stack, template=CHATML)),
            Deployment(
                "question before picture, the model's own template",
                "",
                lambda stack: api(stack, template=own_template, kind=TextFirst),
            ),
            Deployment("question before picture, our template", "sees", lambda stack: api(stack, kind=TextFirst)),
            Deployment("context of 64 tokens (llama-server makes it 256)", "", lambda _: llama(text, eyes, 64)),
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
    """A checkpoint of a real size whose weights are noise: it has all its files, and sees nothing. Asked once: it is slow."""
    made = convert(checkpoint, work / "random")
    assert made.projector is not None
    backend = llama(made.texts[0].path, made.projector.path)
    found = [check(backend, seed=0)]
    backend.close()
    return row(random_name(checkpoint), "blind", found)


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


def told_before(report: Path, setting: dict[str, str]) -> dict[str, str]:
    """The rows that a report has, by deployment; none where it is of another number of runs, program or checkpoint."""
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
        help="deployments whose name has one of these; the rows of others stay",
    )
    parser.add_argument("--random-checkpoint", type=Path, help="random weights of a real size, asked once")
    parser.add_argument("--out", type=Path, default=REPORT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(Path(folder))
        listed = shop.deployments()
        order = [deployment.name for deployment in listed]
        weights = hashlib.sha256((shop.folder / "model.safetensors").read_bytes()).hexdigest()[:12]
        setting = {"runs": str(args.runs), "program": find_server().short_version, "weights": weights}

        def tell(name: str, told: str) -> None:
            """Print it and add it to the report at once: all of it takes hours."""
            print(told, flush=True)
            rows = {**told_before(args.out, setting), name: told}
            lines = [*HEAD, *(rows.pop(name) for name in order if name in rows), *rows.values()]
            write(args.out, {**setting, "deployments": "\n".join(lines)})

        for deployment in listed:
            if any(part in deployment.name for part in args.only):
                with ExitStack() as stack:
                    backend = deployment.build(stack)
                    found = [check(backend, seed=seed) for seed in range(args.runs)]
                    backend.close()
                tell(deployment.name, row(deployment.name, deployment.expected, found))
        if args.random_checkpoint:
            tell(random_name(args.random_checkpoint), of_random(args.random_checkpoint, shop.work))


if __name__ == "__main__":
    main()
