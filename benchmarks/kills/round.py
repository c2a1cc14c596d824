"""One round: what is started and killed, what it said, and what is wrong afterwards."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolvlm_core.paths import BUNDLED_CHECKPOINT

MARK = "KILLS_ROUND"  # in the environment of a round's processes: which of them are left
CHILDREN = ("chat", "upload", "migration", "settings", "clips", "llama-server")


@dataclass
class Round:
    """`said`: what the process said. `wrong`: what is wrong, in words."""

    kind: str
    folder: Path
    mark: str
    said: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def expect(self, fine: bool, problem: str) -> None:
        if not fine:
            self.wrong.append(problem)

    def all(self, name: str) -> list[Any]:
        return [line[name] for line in self.said if name in line]


def command(one: Round) -> list[str]:
    python = [sys.executable, "-m"]
    if one.kind in CHILDREN:
        return [*python, "benchmarks.kills.children", one.kind, str(one.data)]
    core = [*python, "smolvlm_core"]
    if one.kind == "conversion":
        return [*core, "convert", str(BUNDLED_CHECKPOINT), "--out", str(one.out), "--quantize", "Q8_0", "--no-check"]
    if one.kind == "api":
        return [*core, "serve", "--model", "smolvlm-shapes", "--no-check", "--port", str(port_of(one))]
    if one.kind == "batch":
        results = str(one.out / "results.jsonl")
        return [*core, "batch", str(one.out / "pictures"), "--prompt", "What is it?", "--out", results]
    if one.kind == "timeline":
        return [*core, "timeline", str(film_of(one)), "--model", "smolvlm-shapes", "--every", "1"]
    return [*python, "streamlit", "run", "app.py", "--server.port", str(port_of(one)), "--server.headless", "true"]


def film_of(one: Round) -> Path:
    return one.out / "film.mp4"


def port_of(one: Round) -> int:
    return 20_000 + int(one.mark[:6], 16) % 20_000
