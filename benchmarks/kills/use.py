"""A round until the moment of the kill: someone uses the process meanwhile."""

from __future__ import annotations

import contextlib
import json
import queue
import random
import subprocess
import threading
import time
from typing import Any

import httpx
import psutil

from benchmarks.kills import app
from benchmarks.kills.round import CHILDREN, Round, port_of
from smolvlm_core.paths import GALLERY

READY_SECONDS = 180.0
LONGEST_SECONDS = {"chat": 3.0, "upload": 1.5, "migration": 0.4, "settings": 1.0, "clips": 2.0, "llama-server": 2.0}
LONGEST_SECONDS |= {"conversion": 10.0, "api": 3.0, "batch": 1.5, "timeline": 1.5, "app": 5.0}


def use_until_killed(one: Round, process: subprocess.Popen[bytes], dice: random.Random) -> None:
    """Until the moment of the kill."""
    lines: queue.Queue[bytes] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    stop = threading.Event()
    user = _user(one, stop)
    if one.kind in CHILDREN:
        first = json.loads(lines.get(timeout=READY_SECONDS) or b"{}")
        one.expect("ready" in first, "it did not start")
        one.said.append(first)
    elif one.kind == "api":
        first_line = lines.get(timeout=READY_SECONDS)
        one.expect(first_line.startswith(b"http"), "it did not start")
    elif one.kind == "app":
        app.wait_until_ready(port_of(one), READY_SECONDS)
    elif one.kind == "batch":
        _wait_for(lambda: (one.out / "results.jsonl").exists() and (one.out / "results.jsonl").stat().st_size > 0)
    elif one.kind == "timeline":
        lines.get(timeout=READY_SECONDS)  # the first caption, or nothing where it fails
    if user is not None:
        user.start()
        if dice.random() < 0.7:  # else it is killed while it loads
            _wait_for(lambda: one.said or not user.is_alive())
    time.sleep(dice.uniform(0, LONGEST_SECONDS[one.kind]))
    helpers = [child for child in psutil.Process(process.pid).children(recursive=True) if _is_helper(one, child)]
    if helpers and dice.random() < 0.5:
        helpers[-1].kill()  # a decoder or llama-server: the process goes on, and is killed later
        time.sleep(dice.uniform(0.2, 1.5))
    process.kill()
    process.wait()
    stop.set()
    reader.join(10)
    if user is not None:
        user.join(30)
    with contextlib.suppress(queue.Empty):
        while True:
            line = lines.get_nowait()
            if line.startswith(b"{"):
                one.said.append(json.loads(line))


def _user(one: Round, stop: threading.Event) -> threading.Thread | None:
    """Who asks a server."""
    if one.kind == "app":
        return threading.Thread(target=app.ask, args=(port_of(one), one.said, stop), daemon=True)
    if one.kind == "api":
        return threading.Thread(target=_ask_api, args=(one, stop), daemon=True)
    return None


def _ask_api(one: Round, stop: threading.Event) -> None:
    url = f"http://127.0.0.1:{port_of(one)}/v1/chat/completions"
    picture = next(iter(sorted(GALLERY.glob("*.png"))))
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(
            url.replace("chat/completions", "files"), files={"file": picture.open("rb")}, data={"purpose": "vision"}
        )
    question = {
        "messages": [{"role": "user", "content": "What color is it?"}],
        "stream": True,
        "model": "smolvlm-shapes",
    }
    while not stop.is_set():
        with contextlib.suppress(httpx.HTTPError):
            with httpx.stream("POST", url, json=question, timeout=20) as answer:
                text = "".join(answer.iter_text())
            one.said.append({"asked": True, "complete": "[DONE]" in text})
            one.expect("[DONE]" in text or '"error"' in text, "a cut answer ended as if it were whole")


def _is_helper(one: Round, child: psutil.Process) -> bool:
    signs = {"clips": "isolated", "llama-server": "llama-server"}
    with contextlib.suppress(psutil.Error):
        line = " ".join(child.cmdline())
        return one.kind in signs and signs[one.kind] in line and "keeper.py" not in line
    return False


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith(b"\n"):
            lines.put(line)
    lines.put(b"")


def _wait_for(condition: Any) -> None:
    ends = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError("it did not start")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()
    process.wait()
