"""When companions are tested against the entries that they come with: on request, or once after an answer. Jobs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from smolvlm_core.backends.base import THIS_MACHINE, Entry, SelfTest, SelfTestResult
from smolvlm_core.backends.registry import companions_of
from smolvlm_core.models.machine import this_machine
from smolvlm_core.work.device_lock import DeviceLocks
from smolvlm_core.work.job import Job, Jobs
from smolvlm_core.work.pool import Pool
from smolvlm_core.work.report import Report

PREFIX = "self-test "


class SelfTests:
    """The self-tests of a process."""

    def __init__(self, jobs: Jobs, devices: DeviceLocks, pool: Pool) -> None:
        self._jobs, self._devices, self._pool = jobs, devices, pool

    def job_of(self, entry: Entry) -> Job | None:
        return self._jobs.find(_name(entry))

    def begin(self, entry: Entry, test: SelfTest, wait_for_answer: Callable[[], bool] | None = None) -> Job:
        """`wait_for_answer` returns whether an answer that is being made is complete; if not, nothing is tested."""

        def work(report: Report, cancel: threading.Event) -> SelfTestResult | None:
            if wait_for_answer is not None:
                report("Waiting for the answer", None)
                if not wait_for_answer():
                    return None
            waiting = "Waiting for a check or comparison"
            with self._devices.acquire(THIS_MACHINE, cancel, lambda: report(waiting, None)) as mine:
                if not mine:
                    return None
                result = test.run(self._pool, report, cancel)
            entry.release(self._pool)
            return result

        return self._jobs.start(_name(entry), work)

    def begin_on_first_use(self, entry: Entry, wait_for_answer: Callable[[], bool]) -> None:
        """Test what comes with the entry that answers, where that was never done and no GPU is used.

        `SMOLVLM_LENS_CHECK=off` turns this off, as it does for checks.
        """
        if os.environ.get("SMOLVLM_LENS_CHECK", "") == "off" or this_machine().gpu_memory_bytes:
            return
        for companion in companions_of(entry):
            test = companion.self_test
            if test is not None and test.result() is None and self.job_of(companion) is None:
                self.begin(companion, test, wait_for_answer)

    def describe(self, entry: Entry, test: SelfTest) -> str:
        """Where the test of an entry stands, or its result, in one line; "" where it was not tested."""
        job = self.job_of(entry)
        if job is not None and not job.done:
            return f"{job.text}…"
        if job is not None and job.problem is not None:
            return job.problem
        result = test.result()
        return result.text if result is not None else ""


def _name(entry: Entry) -> str:
    return f"{PREFIX}{entry.key}"
