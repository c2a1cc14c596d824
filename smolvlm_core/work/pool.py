"""Resources that are slow to load and shared: model weights in this process, llama-server processes.

Knows loading, queueing and releasing. Does not know what a resource is: its `Loader` does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, Literal, Protocol, TypeVar

from smolvlm_core.errors import LensError
from smolvlm_core.work.report import Report
from smolvlm_core.work.worker import Worker

logger = logging.getLogger(__name__)
LoadState = Literal["not loaded", "loading", "ready", "failed"]
L = TypeVar("L")


class Loader(Protocol[L]):
    """Loads one resource. Called on the worker thread of its handle, except `describe` and `used_bytes`."""

    title: str

    def load(self, variant: str | None, report: Report, cancel: threading.Event) -> L:
        """Raises LensError. `variant` is a way of running the resource that only its backend knows."""
        ...

    def serves(self, loaded: L, variant: str | None) -> bool:
        """Whether what is loaded still runs, and in that variant. None: any."""
        ...

    def unload(self, loaded: L) -> None: ...

    def shortage_bytes(self) -> int:
        """Memory that must be freed before loading; 0 or less where it fits."""
        ...

    def used_bytes(self, loaded: L) -> int: ...

    def describe(self, loaded: L) -> str:
        """Where it runs and what it takes, in words."""
        ...


class Handle(Generic[L]):
    """One resource of the pool: its state, its worker thread, and the resource once loaded.

    `cache` belongs to the backend (a key-value cache, say) and is touched on the worker thread only.
    """

    def __init__(self, loader: Loader[L], make_room: Callable[[Handle[Any]], None]) -> None:
        self.loader, self._make_room = loader, make_room
        self.worker = Worker(loader.title)
        self.state: LoadState = "not loaded"
        self.status_text = ""
        self.status_fraction: float | None = None
        self.error: LensError | None = None
        self.loaded: L | None = None
        self.load_seconds: float | None = None
        self.cache: object = None
        self.last_used = time.monotonic()

    @property
    def is_busy(self) -> bool:
        """Whether it loads or answers, or is about to."""
        return self.state == "loading" or self.worker.busy

    def ensure(
        self,
        report: Report = lambda text, fraction: None,
        cancel: threading.Event | None = None,
        variant: str | None = None,
    ) -> L:
        """The loaded resource. Call on the worker thread only. A failed load is tried again by the next call.

        Raises:
            LensError: it cannot be loaded; also kept in `error`.
        """
        self.last_used = time.monotonic()
        if self.loaded is not None and self.loader.serves(self.loaded, variant):
            return self.loaded
        self.unload()
        return self._load(report, cancel or threading.Event(), variant)

    def _load(self, report: Report, cancel: threading.Event, variant: str | None) -> L:
        def tell(text: str, fraction: float | None) -> None:
            self.status_text, self.status_fraction = text, fraction
            report(text, fraction)

        self.state, self.error = "loading", None
        tell(f"Loading {self.loader.title}", None)
        began = time.perf_counter()
        try:
            self._make_room(self)
            self.loaded = self.loader.load(variant, tell, cancel)
        except LensError as error:
            self.state, self.error = ("not loaded", None) if cancel.is_set() else ("failed", error)
            raise
        except Exception as error:
            self.state = "failed"
            self.error = LensError(f"{self.loader.title} failed to load: {error!r}.", "The log has the details.")
            raise
        self.state, self.load_seconds = "ready", time.perf_counter() - began
        return self.loaded

    def unload(self) -> None:
        """Call on the worker thread, or once the worker is closed."""
        loaded, self.loaded, self.cache, self.state = self.loaded, None, None, "not loaded"
        if loaded is not None:
            self.loader.unload(loaded)

    def preload(self) -> None:
        """Load in the background. An error is kept in `error` and raised again by the next question."""

        def work() -> None:
            try:
                self.ensure()
            except LensError as error:
                logger.info("%s", error)

        if self.state == "not loaded" and not self.worker.busy:
            try:
                self.worker.submit(work)
            except RuntimeError:
                logger.info("%s was released", self.loader.title)

    def retry(self) -> None:
        """Try a failed load again."""
        if self.state == "failed":
            self.state, self.error = "not loaded", None
        self.preload()

    def close(self) -> None:
        """Cancel what runs and waits, then unload."""
        self.worker.close()
        self.unload()


class Pool:
    """One handle for each resource of the process, whoever asks. Used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: dict[Hashable, Handle[Any]] = {}
        self._closing: list[Handle[Any]] = []  # released, but still answering
        self._shared: dict[str, Any] = {}

    def get(self, key: Hashable, make_loader: Callable[[], Loader[L]]) -> Handle[L]:
        """The handle of `key`, new where there is none. Counts as a use."""
        with self._lock:
            handle = self._handles.get(key)
            if handle is None:
                handle = self._handles[key] = Handle(make_loader(), self._make_room)
            handle.last_used = time.monotonic()
            return handle

    def peek(self, key: Hashable) -> Handle[Any] | None:
        """As `get`, but neither makes one nor counts as a use."""
        with self._lock:
            return self._handles.get(key)

    def shared(self, name: str, make: Callable[[], L]) -> L:
        """An object that all resources of a process share, made on first use."""
        with self._lock:
            if name not in self._shared:
                self._shared[name] = make()
            return self._shared[name]  # type: ignore[no-any-return]

    def loaded(self) -> list[Handle[Any]]:
        with self._lock:
            return [handle for handle in (*self._handles.values(), *self._closing) if handle.loaded is not None]

    def release(self, handle: Handle[Any], *, only_if_idle: bool = False) -> bool:
        """Take a handle out of the pool and unload it: at once, or after the last answer asked of it. True where it is gone.

        `only_if_idle`: leave it where it is loading or answering.
        """
        idle = handle.worker.close_if_idle()
        if not idle and only_if_idle:
            return False
        with self._lock:
            self._handles = {k: h for k, h in self._handles.items() if h is not handle}
            if not idle and handle not in self._closing:
                self._closing.append(handle)
                threading.Thread(target=self._close_when_idle, args=(handle,), daemon=True).start()
        if idle:
            handle.unload()
        return idle

    def _close_when_idle(self, handle: Handle[Any]) -> None:
        while not handle.worker.close_if_idle():
            time.sleep(0.2)
        handle.close()
        with self._lock:
            self._closing = [other for other in self._closing if other is not handle]

    def close(self) -> None:
        with self._lock:
            handles, self._handles = [*self._handles.values(), *self._closing], {}
        for handle in handles:
            handle.close()

    def _make_room(self, wanted: Handle[Any]) -> None:
        """Release idle resources of the same kind, the least recently used first, until the wanted one fits or none is left."""
        while wanted.loader.shortage_bytes() > 0:
            same_kind = (h for h in self.loaded() if h is not wanted and type(h.loader) is type(wanted.loader))
            others = sorted(same_kind, key=lambda h: h.last_used)
            if not any(self.release(handle, only_if_idle=True) for handle in others):
                return  # the load itself finds out whether it fits: the estimate is on the safe side
