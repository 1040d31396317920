"""`LocalSandbox(in_process=False)`: what it promises besides the verdicts: batches, waiting, errors, and every kind of end."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from concurrent.futures import Future

import pytest

from tests.support.processes import BACKSTOP_S, alive, descendants, wait_until, workers
from tests.support.programs import ADD, ADDS, ENDLESS, SLEEP
from trl_gift.sandbox import (
    IsolationUnavailable,
    Limits,
    LocalSandbox,
    Outcome,
    SandboxClosed,
    SandboxError,
    Status,
)
from trl_gift.sandbox.pool import host
from trl_gift.sandbox.pool import hosted as hosted_module


@pytest.fixture(scope="module")
def hosted():
    with LocalSandbox(num_workers=1, limits=Limits(cpu_s=5, wall_s=BACKSTOP_S), in_process=False) as sandbox:
        yield sandbox


def test_many_programs_from_many_threads(hosted):
    results = []

    def work():
        futures = [hosted.submit(program, ADDS) for program in (ADD, "def add(a, b):\n    return 0\n") * 10]
        results.append([future.result(BACKSTOP_S).passed for future in futures])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[True, False] * 10] * 3


def test_more_programs_at_once_than_there_is_room_for():
    with LocalSandbox(num_workers=1, max_pending=3, in_process=False) as sandbox:
        programs = [ADD, "def add(a, b):\n    return 0\n"] * 5
        outcomes = [
            future.result(BACKSTOP_S).passed
            for future in sandbox.submit_all([(program, ADDS) for program in programs])
        ]
    assert outcomes == [True, False] * 5


def test_programs_keep_off_one_cpu_if_enough_others_remain(monkeypatch):
    usable = sorted(os.sched_getaffinity(0))
    for rank, num_workers in ((0, 1), (1, 1), (0, len(usable)), (0, None)):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with LocalSandbox(num_workers=num_workers, in_process=False) as sandbox:
            assert sandbox.run(ADD, ADDS).passed
            left = [usable[rank % len(usable)]] if num_workers == 1 and len(usable) > 1 else []
            assert {tuple(os.sched_getaffinity(pid)) for pid in descendants(sandbox._backend.pid)} == {
                tuple(cpu for cpu in usable if cpu not in left)
            }


def test_outcomes_wait_for_others_but_the_last_one_does_not(monkeypatch):
    class Sent:
        def __init__(self):
            self.batches = queue.SimpleQueue()

        def send(self, batch):
            self.batches.put([number for number, _ in batch])

    monkeypatch.setattr(host, "BATCH_S", 600)
    connection = Sent()
    outcomes = host.Outcomes(connection)
    futures = [Future() for _ in range(3)]
    for number, future in enumerate(futures):
        outcomes.expect(number, future)
    threading.Thread(target=outcomes.send, daemon=True).start()
    for future in futures:
        assert connection.batches.empty()
        future.set_result(Outcome(Status.PASSED))
    assert connection.batches.get(timeout=BACKSTOP_S) == [0, 1, 2]


def test_nothing_is_left_behind():
    def state():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before, others = state(), descendants()
    sandbox = LocalSandbox(num_workers=2, in_process=False)
    assert sandbox.run(ADD, ADDS).passed
    futures = [sandbox.submit(SLEEP, ADDS, limits=ENDLESS) for _ in range(6)]
    assert wait_until(lambda: len((descendants() - others) & workers()) >= 6)  # per worker its judge and a program too
    mine = descendants() - others
    started = time.monotonic()
    sandbox.close()
    assert time.monotonic() - started < hosted_module._CLOSE_S, "nothing had to be killed"
    assert not any(alive(pid) for pid in mine)
    assert all(future.cancelled() for future in futures)
    assert state() == before
    with pytest.raises(SandboxClosed, match="make a new one"):
        sandbox.submit(ADD, ADDS)
    sandbox.close()


def test_the_death_of_the_host_is_an_error_for_all_waiting_futures():
    with LocalSandbox(num_workers=1, in_process=False) as sandbox:
        assert sandbox.run(ADD, ADDS).passed
        others = descendants()
        futures = [sandbox.submit(SLEEP, ADDS, limits=ENDLESS) for _ in range(3)]
        assert wait_until(lambda: descendants() - others)
        mine = descendants(sandbox._backend.pid)
        os.kill(sandbox._backend.pid, signal.SIGKILL)
        for future in futures:
            with pytest.raises(SandboxError, match="ended by itself"):
                future.result(BACKSTOP_S)
        with pytest.raises(SandboxError, match="ended by itself"):
            sandbox.submit(ADD, ADDS)
        assert wait_until(lambda: not any(alive(pid) for pid in mine))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_workers": 0}, ValueError, "at least one worker is needed"),
        ({"isolation": "none"}, IsolationUnavailable, "TRL_GIFT_ALLOW_NO_ISOLATION"),
    ],
)
def test_errors_at_the_start_are_raised_by_the_constructor(monkeypatch, arguments, error, words):
    monkeypatch.delenv("TRL_GIFT_ALLOW_NO_ISOLATION", raising=False)
    others = descendants()
    with pytest.raises(error, match=words):
        LocalSandbox(**arguments, in_process=False)
    assert descendants() <= others


def test_an_argument_that_is_not_a_program_is_refused_at_once(hosted):
    with pytest.raises(TypeError, match="a program must be a str"):
        hosted.submit(None, ADDS)
    assert hosted.run(ADD, ADDS).passed
