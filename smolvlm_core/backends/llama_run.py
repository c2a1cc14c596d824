"""One answer of a llama-server that this app started: wait for the server and for a slot, then stream beside the worker.

The worker is free once the answer has a slot, so as many answers run together as the server has slots.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable

from smolvlm_core.backends.remote.chat_api import Tally
from smolvlm_core.backends.remote.faults import ServerFault
from smolvlm_core.backends.remote.following import Cancelled
from smolvlm_core.backends.remote.llama_completion import complete
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.llamacpp.pool import Cut
from smolvlm_core.llamacpp.server import LlamaServer
from smolvlm_core.models.catalog import ModelSpec
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import Event, GenerationSettings, Progress, StopReason
from smolvlm_core.work.pool import Handle

logger = logging.getLogger(__name__)


class LlamaRun:
    """See `queue.Run`. `goes_on`: it has a slot and streams on a thread of its own, until its last event."""

    def __init__(
        self,
        handle: Handle[LlamaServer],
        spec: ModelSpec,
        prompt: Prompt,
        settings: GenerationSettings,
        cancel: threading.Event,
        *,
        cold: bool = False,
    ) -> None:
        self.cold = cold
        self.handle, self.spec, self.prompt, self.settings, self.cancel = handle, spec, prompt, settings, cancel
        self.events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self.asked = self.started = time.perf_counter()
        self.tally = Tally(prompt.fingerprint)
        self.goes_on = self._asked_again = False

    def work(self) -> None:
        try:
            server = self._server_with_a_slot()
        except Cancelled:
            self._end("cancelled", None)
            self.goes_on = False
        except BaseException as error:
            stopped = isinstance(error, LensError) and self.cancel.is_set()  # while the server was starting
            self._end("cancelled" if stopped else "failed", None if stopped else error)
            self.goes_on = False
        else:
            self.goes_on = True
            self.handle.worker.hold()
            threading.Thread(target=self._stream, args=(server,), name="llama-answer", daemon=True).start()

    def _server_with_a_slot(self) -> LlamaServer:
        cut = cut_for(self.prompt)
        running = self.handle.loaded
        if running is not None and running.alive and not self.handle.loader.serves(running, cut):
            self._wait(running.slots.wait_until_empty)  # it is restarted, which would end other answers
        self._check_cancel()
        self.started = time.perf_counter()
        server = self.handle.ensure(cancel=self.cancel, variant=cut)
        self.tally.load_seconds = time.perf_counter() - self.started
        began = time.perf_counter()
        self._wait(server.slots.take)
        self.started += time.perf_counter() - began
        return server

    def _wait(self, wait: Callable[[threading.Event, Callable[[int], None]], bool]) -> None:
        told = -1

        def waiting(ahead: int) -> None:
            nonlocal told
            if ahead != told:
                told = ahead
                self.events.put(Progress(f"Waiting: {ahead} before you"))

        if not wait(self.cancel, waiting):
            raise Cancelled

    def _check_cancel(self) -> None:
        if self.cancel.is_set():
            raise Cancelled

    def _stream(self, server: LlamaServer) -> None:
        """On a thread of its own."""
        reason: StopReason = "failed"
        failure: BaseException | None = None
        try:
            geometry = self.spec.geometry
            self.tally.image_tokens = geometry.image_tokens(self.prompt.slots)
            for event in complete(
                server.url,
                self.prompt,
                self.settings,
                geometry,
                self.cancel,
                self.tally,
                server.api_key,
                cold=self.cold,
            ):
                self.events.put(event)
            reason = self.tally.reason
        except Cancelled:
            reason = "cancelled"
        except BaseException as error:
            failure = error
        server.slots.give()
        if isinstance(failure, ServerFault) and server.ends_within(3):
            if self._ask_again():
                return
            failure = self._died(server, failure)
        self.handle.worker.let_go()
        self._end(reason, failure)

    def _ask_again(self) -> bool:
        """Once, where the server had ended before it said anything: it may have been gone when it was asked."""
        if self._asked_again or self.tally.pieces or self.cancel.is_set():
            return False
        self._asked_again = True
        try:
            self.handle.worker.submit(self.work, self.cancel)
        except RuntimeError:  # released meanwhile
            return False
        self.handle.worker.let_go()
        return True

    def _end(self, reason: StopReason, failure: BaseException | None) -> None:
        server = self.handle.loaded
        self.events.put(
            self.tally.stats(
                reason,
                queued_seconds=self.started - self.asked,
                peak_memory_bytes=server.memory_bytes if server is not None else 0,
                memory_of="llama-server's RAM",
            )
        )
        if failure is not None:
            self.events.put(failure)

    def _died(self, server: LlamaServer, error: ServerFault) -> BackendError:
        """Restart a server that died in the middle of an answer, and say so."""
        why = server.why_it_ended()
        with contextlib.suppress(RuntimeError):  # released meanwhile: not started again
            self.handle.worker.submit(self._start_again)
        worded = BackendError(
            f"llama-server ended in the middle of the answer: {why}",
            f"It is being started again; ask again. The text so far is saved. Its log is {server.log}.",
        )
        worded.__cause__ = error
        return worded

    def _start_again(self) -> None:
        try:
            self.handle.ensure()
        except LensError as error:
            logger.warning("%s", error)


def cut_for(prompt: Prompt) -> Cut | None:
    """Video frames are one tile each for SmolVLM2: as few as the server can do. Pictures among them need their tiles."""
    if not prompt.slots:
        return None
    return "tiles" if any(slot.tiled for slot in prompt.slots) else "frames"
