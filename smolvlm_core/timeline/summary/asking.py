"""Asking for one answer while a summary is made. What stops the summary is told apart from what fails."""

from __future__ import annotations

import threading

from smolvlm_core.backends.base import Backend, Reply, collect
from smolvlm_core.errors import BackendError, LensError
from smolvlm_core.prompt.build import Prompt
from smolvlm_core.prompt.generation import GenerationSettings
from smolvlm_core.work.events import child


class Stopped(Exception):
    """The work was cancelled."""


def reply_of(backend: Backend, prompt: Prompt, settings: GenerationSettings, cancel: threading.Event) -> Reply:
    """The whole answer. The backend gets an event of its own: it may set that when it fails.

    Raises:
        Stopped: `cancel` was set.
        LensError: the backend failed.
    """
    if cancel.is_set():
        raise Stopped
    try:
        with child(cancel) as own:
            reply = collect(backend.generate(prompt, settings, own))
    except LensError:
        if cancel.is_set():
            raise Stopped from None
        raise
    if reply.stats.stop_reason == "cancelled":
        if cancel.is_set():
            raise Stopped
        raise BackendError("The model stopped before its answer was complete.", "Run the summary again to go on.")
    return reply
