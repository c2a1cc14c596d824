"""When backends are checked: on request, or after a backend's first answer. Checks are jobs that take turns on a device."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from smolvlm_core.backends.base import THIS_MACHINE, Backend
from smolvlm_core.check.canaries import Subject
from smolvlm_core.check.run import Verdict, check
from smolvlm_core.check.verdicts import Verdicts
from smolvlm_core.work.device_lock import DeviceLocks
from smolvlm_core.work.job import Job, Jobs
from smolvlm_core.work.report import Report

PREFIX = "check "


class Checks:
    """The vision checks of a process."""

    def __init__(self, jobs: Jobs, devices: DeviceLocks, verdicts: Verdicts) -> None:
        self._jobs, self._devices, self._verdicts = jobs, devices, verdicts

    def job_of(self, backend: Backend) -> Job | None:
        return self._jobs.find(_name(backend))

    def begin(self, backend: Backend, *, close: bool = False) -> Job:
        """A full check. `close`: release what it loads afterwards."""
        return self._begin(backend, None, short=False, close=close)

    def begin_on_first_use(self, backend: Backend, wait_for_answer: Callable[[], bool] | None = None) -> None:
        """Check a backend on this machine that was never checked, with pictures only, once its answer is complete.

        `wait_for_answer` returns whether the answer is complete. `SMOLVLM_LENS_CHECK=off` turns these checks off. A remote
        server, which may cost money, is not asked.
        """
        if os.environ.get("SMOLVLM_LENS_CHECK", "") == "off":
            return
        if (job := self.job_of(backend)) is not None and not _may_be_repeated(job):
            return
        if backend.device == THIS_MACHINE and self._verdicts.is_due(backend):
            self._begin(backend, wait_for_answer, short=True)

    def stop(self, backend: Backend) -> None:
        if (job := self.job_of(backend)) is not None:
            job.cancel.set()

    def forget(self, backend: Backend) -> None:
        """Its check, its verdict, and what was asked. A check that still runs is stopped."""
        self._jobs.drop(_name(backend))
        self._verdicts.forget(backend)

    def _begin(
        self, backend: Backend, wait_for_answer: Callable[[], bool] | None, *, short: bool, close: bool = False
    ) -> Job:
        def work(report: Report, cancel: threading.Event) -> Verdict:
            if wait_for_answer is not None:
                report("Waiting for the answer", None)
                if not wait_for_answer():
                    return Verdict("unchecked")
            return self.check_in_turn(backend, report, cancel, short=short, close=close)

        return self._jobs.start(_name(backend), work)

    def check_in_turn(
        self, backend: Backend, report: Report, cancel: threading.Event, *, short: bool = False, close: bool = False
    ) -> Verdict:
        """Check once the device is free, and save the verdict. `short`: pictures of shapes only."""
        waiting = "Waiting for another check or comparison"
        with self._devices.acquire(backend.device, cancel, lambda: report(waiting, None)) as mine:
            if not mine:
                return Verdict("unchecked")
            subjects: tuple[Subject, ...] | None = ("shapes",) if short else None
            verdict = check(backend, lambda _, text: report(text, None), cancel, subjects=subjects)
            if close:
                backend.close()
        self._verdicts.save(backend, verdict)
        return verdict


def _may_be_repeated(job: Job) -> bool:
    """It ended without having asked anything, because its answer was not complete."""
    return job.done and job.problem is None and not job.result.asked


def _name(backend: Backend) -> str:
    return f"{PREFIX}{backend.identity()}"
