from __future__ import annotations

import os
import sys
import threading

import pytest

from smolvlm_core.work.worker import PRIORITY_STEPS, Worker


def test_tasks_run_in_order_on_one_thread() -> None:
    worker, order, threads = Worker("w"), [], set()

    def work(number: int) -> None:
        order.append(number)
        threads.add(threading.current_thread())

    jobs = [worker.submit(lambda n=n: work(n)) for n in range(20)]
    for job in jobs:
        assert job.finished.wait(5)
    assert order == list(range(20)) and len(threads) == 1
    worker.close()


def test_a_waiting_job_knows_its_place_and_can_leave() -> None:
    worker, gate, started = Worker("w"), threading.Event(), threading.Event()
    first = worker.submit(lambda: (started.set(), gate.wait(5)))
    second, third = worker.submit(lambda: None), worker.submit(lambda: None)
    assert started.wait(5)
    assert [worker.ahead_of(job) for job in (first, second, third)] == [0, 1, 2]
    assert worker.drop(second) and not worker.drop(first)
    assert worker.ahead_of(third) == 1 and worker.busy
    gate.set()
    assert third.finished.wait(5)
    worker.close()


def test_a_busy_worker_is_not_closed_under_its_job() -> None:
    worker, gate, started = Worker("w"), threading.Event(), threading.Event()
    job = worker.submit(lambda: (started.set(), gate.wait(5)))
    assert started.wait(5) and not worker.close_if_idle()
    gate.set()
    assert job.finished.wait(5)
    worker.close()
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit(lambda: None)


def test_close_cancels_what_runs() -> None:
    worker, cancel, started = Worker("w"), threading.Event(), threading.Event()
    worker.submit(lambda: (started.set(), cancel.wait(5)), cancel)
    assert started.wait(5)
    worker.close()
    assert cancel.is_set()


def test_a_job_that_fails_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker("w")
    worker.submit(lambda: 1 / 0)
    assert worker.submit(lambda: None).finished.wait(5)
    assert "ZeroDivisionError" in caplog.text
    worker.close()


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a priority is of a whole process: it is not on this machine"
)
def test_a_worker_yields_to_pages_and_requests() -> None:
    worker, found = Worker("test"), []
    worker.submit(lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))).finished.wait(20)
    worker.close()
    assert found == [min(19, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + PRIORITY_STEPS)]
