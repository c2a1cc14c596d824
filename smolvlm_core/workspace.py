"""What one process shares: the store, the backends, what is loaded, and what runs. Built once by an entry point and handed on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smolvlm_core import housekeeping
from smolvlm_core.access.quota import refuse_if_full
from smolvlm_core.access.users import UNLIMITED, Limits
from smolvlm_core.backends.registry import Registry
from smolvlm_core.backends.self_tests import SelfTests
from smolvlm_core.batch.jobs import Batches
from smolvlm_core.check.schedule import Checks
from smolvlm_core.check.verdicts import Verdicts
from smolvlm_core.compare.run import Comparisons
from smolvlm_core.compare.votes import Votes
from smolvlm_core.conversations.answering import Answers
from smolvlm_core.conversations.store import Store
from smolvlm_core.conversations.unsent import UnsentMedia
from smolvlm_core.engine.state import features_of
from smolvlm_core.engine.vision.features import FeatureCache
from smolvlm_core.live.sessions import LiveSessions
from smolvlm_core.paths import data_folder
from smolvlm_core.preferences import Preferences
from smolvlm_core.timeline.jobs import Timelines
from smolvlm_core.timeline.moments.jobs import Moments
from smolvlm_core.timeline.summary.jobs import Summaries
from smolvlm_core.work.device_lock import DeviceLocks
from smolvlm_core.work.job import Jobs
from smolvlm_core.work.pool import Pool


@dataclass(frozen=True, kw_only=True)
class Process:
    """What does not depend on a data folder."""

    pool: Pool
    jobs: Jobs
    devices: DeviceLocks

    @classmethod
    def new(cls) -> Process:
        return cls(pool=Pool(), jobs=Jobs(), devices=DeviceLocks())


class Workspace:
    """One data folder and the process that uses it. The store is opened when it is first needed.

    `base`: the workspace of the machine, where this one is of a user of a shared app: backends, verdicts and checks are its.
    `limits`: of the user, asked at each use.

    Raises:
        StoreError: on first use of `store`, where the data folder cannot be used.
    """

    def __init__(
        self,
        folder: Path | None = None,
        process: Process | None = None,
        *,
        base: Workspace | None = None,
        limits: Callable[[], Limits] = lambda: UNLIMITED,
    ) -> None:
        self.folder, self.limits = folder or data_folder(), limits
        self.process = process or Process.new()
        self.pool, self.jobs, self.devices = self.process.pool, self.process.jobs, self.process.devices
        housekeeping.tidy(self.folder)
        self._store: Store | None = None
        self._answers: Answers | None = None
        self._opening = threading.Lock()
        self.unsent = UnsentMedia()
        self.preferences = Preferences(self.folder)
        self.registry: Registry = base.registry if base is not None else Registry(self.folder, self.pool)
        self.verdicts: Verdicts = base.verdicts if base is not None else Verdicts(self.folder)
        self.self_tests: SelfTests = (
            base.self_tests if base is not None else SelfTests(self.jobs, self.devices, self.pool)
        )
        self.checks: Checks = base.checks if base is not None else Checks(self.jobs, self.devices, self.verdicts)
        self.batches = Batches(self.folder, self.jobs, self.registry)
        self.timelines = Timelines(self.folder, self.jobs, self.registry, lambda: self.store)
        self.moments = Moments(self.folder, self.jobs, self.timelines)
        self.summaries = Summaries(self.folder, self.jobs, self.registry, self.timelines)
        self.unsent.add(self.timelines)
        self.live = LiveSessions(self.folder, self.jobs, self.registry, self.timelines.store, self.refuse_if_full)
        self.comparisons = Comparisons(self.devices, Votes(self.folder), lambda: self.limits().questions)

    @property
    def store(self) -> Store:
        with self._opening:
            if self._store is None:
                self._store = Store(self.folder, self.unsent)
            return self._store

    @property
    def answers(self) -> Answers:
        store = self.store
        with self._opening:
            if self._answers is None:
                self._answers = Answers(store, lambda: self.limits().questions)
            return self._answers

    def refuse_if_full(self, more_bytes: int) -> None:
        """Raises StoreError where this user has no room for a picture, clip or upload."""
        if (most := self.limits().disk_bytes) < UNLIMITED.disk_bytes:
            refuse_if_full(self.folder, more_bytes, most)

    @property
    def features(self) -> FeatureCache:
        """Features of pictures that were encoded before, in memory and in the data folder."""
        return features_of(self.pool)

    def problems(self) -> tuple[str, ...]:
        """What of the data folder could not be read so far, in words, each once."""
        stored = (*(self._store.problems() if self._store is not None else ()), *self.timelines.store.problems())
        files = [self.verdicts.problem, self.comparisons.votes.problem, self.preferences.problem]
        return (*stored, *(str(problem) for problem in files if problem is not None))

    def close(self) -> None:
        """Release what is loaded."""
        self.pool.close()
