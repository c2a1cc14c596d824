"""One answer on a thread of its own, followed from the event loop. Knows backends by their contract; not HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

from smolvlm_core.api.errors import ApiError, unexpected
from smolvlm_core.errors import LensError
from smolvlm_core.prompt.generation import Event

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
Work = Callable[[threading.Event], Iterator[Event]]  # the event asks it to stop


class RunningAnswer:
    """Starts at once. `close` must be called: it stops what still runs.

    `ended` is called on the event loop once the thread has ended, which may be after `close`.
    """

    def __init__(self, work: Work, timeout_seconds: float, ended: Callable[[], None]) -> None:
        self._ended = ended
        self.cancel = threading.Event()
        self._work = work
        self._ends = time.monotonic() + timeout_seconds
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | LensError | None] = asyncio.Queue()
        threading.Thread(target=self._run, name="api-answer", daemon=True).start()

    def _run(self) -> None:
        try:
            for event in self._work(self.cancel):
                self._put(event)
        except LensError as error:
            self._put(error)
        except Exception as error:
            logger.exception("an answer failed")
            self._put(unexpected().with_traceback(error.__traceback__))
        finally:
            self._put(None)
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._ended)

    def _put(self, item: Event | LensError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, item)
        except RuntimeError:  # the server has ended
            self.cancel.set()

    async def events(self) -> AsyncIterator[Event | None]:
        """Events as they come; None every half second, so that the caller can look whether the client is still there.

        Raises:
            LensError: the answer failed, or took too long.
        """
        looked = time.monotonic()
        while True:
            now = time.monotonic()
            if now > self._ends:
                raise self._too_long()
            if now - looked >= LOOK_SECONDS:
                looked = now
                yield None
            try:
                item = await asyncio.wait_for(self._events.get(), LOOK_SECONDS)
            except TimeoutError:
                continue
            if item is None:
                return
            if isinstance(item, LensError):
                raise item
            yield item

    def close(self) -> None:
        self.cancel.set()

    def _too_long(self) -> ApiError:
        limit = f"The answer took more than {self._timeout_seconds:.0f} s."
        return ApiError(504, "timeout", limit, "Ask for fewer tokens, or start the server with a longer --timeout.")
