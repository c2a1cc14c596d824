"""What happens when the app starts: a shared app that nobody can sign in to ends, and logins are logged."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ui.access import current

logger = logging.getLogger("smolvlm_core.access")


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    _log_to_stderr()  # also of an app for this machine only: a proxy can forward to it
    if why := current.why_shared():
        if problem := current.problem():
            logger.error("SmolVLM Lens is shared (%s), so it needs a login. %s", why, problem)
            os._exit(1)  # nothing runs yet; an exception here would be printed with a traceback
        logger.info("SmolVLM Lens is shared (%s): everyone signs in first.", why)
    yield


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
