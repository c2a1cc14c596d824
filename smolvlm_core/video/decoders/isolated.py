"""Runs a decoder in a process of its own: OpenCV and decord crash on some damaged files, and would crash the app.

python -m smolvlm_core.video.decoders.isolated      (started by IsolatedClip; speaks pickles over its pipes)
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from smolvlm_core.errors import MediaError
from smolvlm_core.video.clip import ClipFacts, Frame, LostFrame, PacketFacts
from smolvlm_core.video.decoders.base import MAX_FRAME_EDGE, DecoderError, Source, check_cancelled, name_of

SILENCE_SECONDS = 600.0  # without an answer from the decoder
END = None


class IsolatedClip:
    """`decoder`: "module:class". Raises as that class does; ImportError where it is not installed."""

    notes: tuple[str, ...] = ()

    def __init__(self, title: str, decoder: str, source: Source) -> None:
        self._title, self._source = title, source
        root = str(Path(__file__).resolve().parents[3])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the decoders' own messages; errors come as answers
            env={**os.environ, "PYTHONPATH": paths},
        )
        self._answers: queue.Queue[Any] = queue.Queue()
        self._asked = 0
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._ask((decoder, source.resolve() if isinstance(source, Path) else source))
            self.facts: ClipFacts = self._answer(None)
        except BaseException:
            self.close()
            raise

    def frames_at(
        self, times_seconds: Sequence[float], max_edge: int = MAX_FRAME_EDGE, cancel: threading.Event | None = None
    ) -> Iterator[Frame | LostFrame]:
        self._asked += 1
        number = self._asked
        self._ask((number, list(times_seconds), max_edge))
        while True:
            answers_to, frame = self._answer(cancel)
            if answers_to != number:  # from an earlier request whose frames were not all read
                continue
            if frame is END:
                return
            yield frame

    def packets(self, cancel: threading.Event | None = None) -> Iterator[PacketFacts]:
        return iter(())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass  # the rest is not needed any more

    def _ask(self, question: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(question, self._process.stdin)
            self._process.stdin.flush()
        except OSError as error:
            raise self._crashed() from error

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                self._answers.put(pickle.load(self._process.stdout))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._answers.put(self._crashed())

    def _answer(self, cancel: threading.Event | None) -> Any:
        for _ in range(int(SILENCE_SECONDS * 10)):
            check_cancelled(cancel)
            try:
                answer = self._answers.get(timeout=0.1)
            except queue.Empty:
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise DecoderError(f"{self._title} does not finish reading {name_of(self._source)}.")

    def _crashed(self) -> DecoderError:
        return DecoderError(f"{self._title} crashed on {name_of(self._source)}.")


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Open one clip. Then answer each numbered request with its frames and END, each with that number."""
    from importlib import import_module

    def send(answer: object) -> None:
        pickle.dump(answer, answers)
        answers.flush()

    decoder, source = pickle.load(requests)
    module, name = decoder.split(":")
    try:
        clip = getattr(import_module(module), name)(source)
        send(clip.facts)
        while True:
            number, times, max_edge = pickle.load(requests)
            for frame in clip.frames_at(times, max_edge):
                send((number, frame))
            send((number, END))
    except EOFError:
        return
    except (ImportError, MediaError) as error:
        send(error)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # decoders print, which must not mix with the pickles
        serve(sys.stdin.buffer, out)
