"""The other process: reads requests from its standard input, answers on its standard output.

python -m smolvlm_core.llamacpp.text.worker      (started by `client`; speaks pickles over its pipes)
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any

from smolvlm_core.llamacpp.text.messages import Answer, Cancel, Ended, Open, Ready, Start, TextOptions


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print goes to the log

    def tell(answer: Answer) -> None:
        pickle.dump(answer, answers)
        answers.flush()

    options: TextOptions = pickle.load(sys.stdin.buffer)
    from smolvlm_core.llamacpp.text.context import Context
    from smolvlm_core.llamacpp.text.scheduler import SPARE, Scheduler

    try:
        context = Context(
            Path(options.text), cells=options.cells, sequences=options.parallel + SPARE, threads=options.threads
        )
    except RuntimeError as error:
        tell(Ended(request=0, reason="failed", problem=str(error)))
        return
    tell(Ready(version=version("llama-cpp-python")))
    _serve(Scheduler(context, options, tell))


def _serve(scheduler: Any) -> None:
    requests: queue.SimpleQueue[object] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    try:
        while True:
            while not requests.empty() or scheduler.idle:
                _take(scheduler, requests.get())
            scheduler.step()
    except Exception:
        traceback.print_exc()  # to the log; a regular exit would wait for the listener
        sys.stderr.flush()
        os._exit(1)


def _take(scheduler: Any, request: object) -> None:
    if isinstance(request, Open):
        scheduler.open(request)
    elif isinstance(request, Start):
        scheduler.start(request)
    elif isinstance(request, Cancel):
        scheduler.cancel(request.request)


def _listen(requests: queue.SimpleQueue[object]) -> None:
    """Ends the process with its parent, whose end of the pipe is then closed."""
    try:
        while True:
            requests.put(pickle.load(sys.stdin.buffer))
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(0)


if __name__ == "__main__":
    main()
