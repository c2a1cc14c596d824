"""This process's side of the text model: starts the other process, sends embeddings, receives tokens.

Knows processes and tokens; not pictures, prompts or words. Several threads may ask at once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.files import make_folder
from smolvlm_core.llamacpp.server import drop_old, telling_line
from smolvlm_core.llamacpp.text.messages import Answer, Cancel, Ended, Open, Ready, Request, Start, TextOptions
from smolvlm_core.paths import PROJECT, data_folder
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.work.report import Report

START_SECONDS = 600.0
LOGS = "text-model-"
WORKER = "smolvlm_core.llamacpp.text.worker"
INSTALL = "pip install -r requirements-hybrid.txt"


@cache
def is_installed() -> bool:
    """Looked up once: each page asks for every model."""
    return importlib.util.find_spec("llama_cpp") is not None


class TextModel:
    """A running text model. Created by `launch`. It ends with `stop`, or when this process ends, however that happens."""

    def __init__(self, options: TextOptions, process: subprocess.Popen[bytes], log: Path) -> None:
        self.options, self.log, self._process = options, log, process
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[Answer]] = {}
        self._started: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._ended = threading.Event()
        self.ready: Ready | None = None

    @classmethod
    def launch(cls, options: TextOptions) -> TextModel:
        """Start the other process. Its model loads beside what this process does next: see `wait_until_ready`.

        Raises:
            BackendError: llama-cpp-python is not installed.
        """
        if not is_installed():
            raise BackendError("llama-cpp-python is not on this machine.", f"Install it: `{INSTALL}`.")
        logs = data_folder() / "logs"
        make_folder(logs)
        drop_old(logs, LOGS)
        with tempfile.NamedTemporaryFile("wb", prefix=LOGS, suffix=".log", dir=logs, delete=False) as log:
            path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # OpenMP threads spin while they wait for each other. Spinning longer made answers 8 times slower beside a busy program;
                # spinning less made decoding a third slower on a quiet machine (two cores, 256M shape).
                env={**os.environ, "PYTHONPATH": path, "GOMP_SPINCOUNT": "1000"},
            )
        model = cls(options, process, Path(log.name))
        threading.Thread(target=model._listen, name="text-model", daemon=True).start()
        model._send(options)
        return model

    @property
    def alive(self) -> bool:
        return not self._ended.is_set() and self._process.poll() is None

    @property
    def memory_bytes(self) -> int:
        """RAM of the other process; 0 once it has ended."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def open(self, ids: list[int], identity: list[int], max_new_tokens: int, *, fresh: bool = False) -> Conversation:
        """Reserve a place for a prompt. `fresh`: nothing that was read before is reused. What `Conversation.events` yields first is `Waiting` and `Opened`."""
        number = next(self._numbers)
        answers = self._answers[number] = queue.SimpleQueue()
        conversation = Conversation(self, number, answers)
        self._send(Open(request=number, ids=ids, identity=identity, max_new_tokens=max_new_tokens, fresh=fresh))
        return conversation

    def stop(self) -> None:
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()  # the other process then ends
            except OSError:
                pass
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:  # in the middle of a long call
            self._process.kill()
            self._process.wait()

    def why_it_ended(self) -> str:
        """The signal that ended it, or the line of its log that says most. Its pipes close a moment before it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(3)
        try:
            said = telling_line(self.log.read_text(errors="replace").splitlines())
        except OSError as error:
            return f"its log cannot be read ({error.strerror})"
        code = self._process.poll()
        return f"it was ended by signal {-code}" if code is not None and code < 0 else said

    def forget(self, number: int) -> None:
        self._answers.pop(number, None)

    def _send(self, message: Request | TextOptions) -> None:
        assert self._process.stdin is not None
        try:
            with self._sending:
                pickle.dump(message, self._process.stdin)
                self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # it has ended: the listener tells those who wait

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                answer: Any = pickle.load(self._process.stdout)
                number = getattr(answer, "request", 0)
                target = self._answers.get(number) if number else self._started
                if target is not None:
                    target.put(answer)
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        self._ended.set()
        for number, answers in [*self._answers.items(), (0, self._started)]:
            answers.put(Ended(request=number, reason="failed", problem="ended"))

    def wait_until_ready(self, report: Report, cancel: threading.Event) -> None:
        """Raises BackendError where the model cannot be loaded."""
        began = time.monotonic()
        while time.monotonic() - began < START_SECONDS:
            report("Loading the text model", None)
            if cancel.is_set():
                raise BackendError("The start of the text model was stopped.")
            try:
                answer = self._started.get(timeout=0.2)
            except queue.Empty:
                continue
            if isinstance(answer, Ready):
                self.ready = answer
                return
            problem = answer.problem if isinstance(answer, Ended) and answer.problem != "ended" else self.why_it_ended()
            raise BackendError(f"The text model could not be loaded: {problem}.", f"Its log is {self.log}.")
        raise BackendError(f"The text model did not load within {START_SECONDS:.0f} s.", f"Its log is {self.log}.")


class Conversation:
    """One request to a text model, from `TextModel.open` to its `Ended`."""

    def __init__(self, model: TextModel, number: int, answers: queue.SimpleQueue[Answer]) -> None:
        self._model, self._number, self._answers = model, number, answers
        self._ended = False

    def start(self, embeddings: np.ndarray, ends: tuple[int, ...], settings: GenerationSettings) -> None:
        """Read (L - reused, hidden) float32 embeddings and answer. Call once, after `Opened`."""
        self._model._send(Start(request=self._number, embeddings=embeddings, ends=ends, settings=settings))

    def cancel(self) -> None:
        """Ask it to end. Has no effect on one that has ended."""
        self._model._send(Cancel(request=self._number))

    def close(self) -> None:
        """Nobody listens any more."""
        if not self._ended:
            self.cancel()
        self._model.forget(self._number)
        self._answers.put(Ended(request=self._number, reason="cancelled"))  # for a thread that still waits

    def events(self, cancel: threading.Event, every_seconds: float = 0.05) -> Iterator[Answer]:
        """What the other process says, until `Ended`. A set `cancel` ends the request.

        Raises:
            LensError: the request failed, or the other process has ended.
        """
        asked_to_end = False
        while True:
            try:
                answer = self._answers.get(timeout=every_seconds)
            except queue.Empty:
                if not self._model.alive:
                    answer = Ended(request=self._number, reason="failed", problem="ended")
                else:
                    if cancel.is_set() and not asked_to_end:
                        asked_to_end = True
                        self.cancel()
                    continue
            if isinstance(answer, Ended):
                self._ended = True
                self._model.forget(self._number)
                if answer.reason == "failed":
                    raise self._failure(answer)
            yield answer
            if isinstance(answer, Ended):
                return
            if cancel.is_set() and not asked_to_end:
                asked_to_end = True
                self.cancel()

    def _failure(self, answer: Ended) -> LensError:
        if answer.problem != "ended":
            return BackendError(answer.problem, "Ask again when other answers have ended, or start a new conversation.")
        return BackendError(
            f"The text model ended in the middle of the answer: {self._model.why_it_ended()}.",
            f"The text so far is saved. Ask again: it starts anew. Its log is {self._model.log}.",
        )
