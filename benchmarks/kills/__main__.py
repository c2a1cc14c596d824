"""Kills processes at random moments, starts again, and looks at what is left.

    python -m benchmarks.kills                         (100 rounds)
    python -m benchmarks.kills --rounds 20 --seed 3
    python -m benchmarks.kills --kinds chat,api --rounds 10

Each round starts one process, kills it (kill -9) up to some seconds after it is ready, and starts again. Kinds: `app` (the real
Streamlit server, asked over its WebSocket), `chat` (four tabs that add pictures, ask and follow answers), `upload`, `migration` (of a
store of an earlier version), `settings` (backends, votes), `clips` (decoders in processes of their own; half of the rounds kill a
decoder), `llama-server` (half of the rounds kill the server), `conversion`, `api` and `batch`.

Checked after each: every question and picture that was shown is there, no half answer passes for a whole one, files are whole, no
process is left after 5 s, the database is neither locked nor damaged, and no temporary file is left once the app has started again.
The exit status is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

from benchmarks.kills.left import check_files, check_processes, check_temporary
from benchmarks.kills.prepare import converted, write_old_store
from benchmarks.kills.round import MARK, Round, command, film_of
from benchmarks.kills.use import LONGEST_SECONDS, end, use_until_killed
from smolvlm_core.errors import LensError
from smolvlm_core.paths import GALLERY, PROJECT
from smolvlm_core.workspace import Workspace
from training.films import random_film, write_film

# Those that load a model take most of the time, so they come less often.
ORDER = (
    "chat", "upload", "app", "settings", "migration", "clips", "chat", "batch", "settings", "llama-server",
    "chat", "migration", "upload", "api", "settings", "clips", "chat", "conversion", "timeline", "upload",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", help=f"of {', '.join(LONGEST_SECONDS)}; all by default, the quick ones more often")
    options = parser.parse_args()
    kinds = tuple(options.kinds.split(",")) if options.kinds else ORDER
    if unknown := set(kinds) - LONGEST_SECONDS.keys():
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        return _rounds(options.rounds, options.seed, kinds, Path(folder))


def _rounds(count: int, seed: int, kinds: tuple[str, ...], folder: Path) -> int:
    rounds, questions, wrong, began = Counter[str](), 0, 0, time.perf_counter()
    ggufs = converted(folder) if "llama-server" in kinds[:count] else folder
    for number in range(count):
        kind, dice = kinds[number % len(kinds)], random.Random(f"kills {seed} {number}")
        one = Round(kind, folder / str(number), uuid.uuid4().hex)
        started = time.perf_counter()
        try:
            _run(one, dice, ggufs)
        except Exception as error:
            one.wrong.append(f"the round failed: {error!r}")
        rounds[kind] += 1
        questions += len(one.all("question"))
        wrong += len(one.wrong)
        seconds = time.perf_counter() - started
        print(
            f"{number} {kind}: {len(one.said)} things done, {seconds:.1f} s{''.join(f'; WRONG: {w}' for w in one.wrong)}"
        )
        sys.stdout.flush()
        shutil.rmtree(one.folder, ignore_errors=True)
    total = {"rounds": count, "kinds": dict(rounds), "questions kept": questions, "wrong": wrong, "seed": seed}
    print(json.dumps(total | {"seconds": round(time.perf_counter() - began)}))
    return int(wrong > 0)


def _run(one: Round, dice: random.Random, ggufs: Path) -> None:
    one.data.mkdir(parents=True)
    one.out.mkdir()
    temporary = one.folder / "tmp"
    temporary.mkdir()
    if one.kind == "migration":
        write_old_store(one.data)
    if one.kind == "timeline":
        _, scenes = random_film(dice, 5, 40)
        write_film(film_of(one), scenes, 10)
    if one.kind == "batch":
        for number in range(3):
            shutil.copytree(GALLERY, one.out / "pictures" / str(number), ignore=shutil.ignore_patterns("*.mp4"))
    environment = {
        **os.environ, MARK: one.mark, "SMOLVLM_LENS_DATA": str(one.data), "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary),
        "KILLS_GGUFS": str(ggufs), "SMOLVLM_LENS_CHECK": "off", "PYTHONPATH": str(PROJECT),
    }  # fmt: skip
    process = subprocess.Popen(
        command(one), cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        use_until_killed(one, process, dice)
    finally:
        end(process)
    check_processes(one)
    check_files(one)
    with contextlib.suppress(LensError):
        Workspace(one.data).store._database._close_all()  # the app starts again
    check_temporary(one)


if __name__ == "__main__":
    sys.exit(main())
