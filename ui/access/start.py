"""What happens when the app starts: threads take turns more often, a shared app that nobody can sign in to ends, logins are logged."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ui.access import current

logger = logging.getLogger("smolvlm_core.access")


SWITCH_SECONDS = (
    0.002  # Python's 0.005 makes a page wait longer for its turn while a model computes (benchmarks/load.py)
)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    sys.setswitchinterval(SWITCH_SECONDS)
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
