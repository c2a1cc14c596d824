"""Runs a program, and ends it when the process that started this one ends, killed or not: stdin is then closed.

    python keeper.py PROGRAM ARGUMENTS…

Uses the standard library only, so that it starts at once and does not depend on this project.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

SECONDS_TO_END = 5


def _die_with_me() -> Callable[[], None] | None:
    """On Linux, the kernel ends the program when this process is killed. Other systems offer nothing like it."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    libc = ctypes.CDLL(None)
    set_parent_death_signal = 1
    return lambda: libc.prctl(set_parent_death_signal, signal.SIGKILL)


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, preexec_fn=_die_with_me())

    def end() -> None:
        process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(sys.stdin.fileno(), 4096):  # not through sys.stdin: its lock blocks at exit
                pass
        end()

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end, daemon=True).start())
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the process that started this one decides
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
