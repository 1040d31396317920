"""What a sandbox in a process of its own promises besides the verdicts: cancelling, waiting, and ends of every kind."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future

import pytest

from tests.sandbox.test_pool import ADD, ADDS, SLEEP, TRAINER, alive, descendants, wait_until, workers
from trl_gift.sandbox import (
    Case,
    HostedSandbox,
    IsolationUnavailable,
    Limits,
    Outcome,
    SandboxClosed,
    SandboxError,
    Status,
    StdioTests,
)
from trl_gift.sandbox import hosted as hosted_module


@pytest.fixture(scope="module")
def hosted():
    with HostedSandbox(num_workers=1, limits=Limits(cpu_s=5, wall_s=15)) as sandbox:
        yield sandbox


def test_many_programs_from_many_threads(hosted):
    results = []

    def work():
        futures = [hosted.submit(program, ADDS) for program in (ADD, "def add(a, b):\n    return 0\n") * 10]
        results.append([future.result(60).passed for future in futures])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[True, False] * 10] * 3


def test_outcomes_wait_for_others_but_the_last_does_not(monkeypatch):
    class Sent:
        def __init__(self):
            self.batches = queue.SimpleQueue()

        def send(self, batch):
            self.batches.put([number for number, _ in batch])

    monkeypatch.setattr(hosted_module, "_BATCH_S", 600)
    connection = Sent()
    outcomes = hosted_module._Outcomes(connection)
    futures = [Future() for _ in range(3)]
    for number, future in enumerate(futures):
        outcomes.expect(number, future)
    threading.Thread(target=outcomes.send, daemon=True).start()
    for future in futures:
        assert connection.batches.empty()
        future.set_result(Outcome(Status.PASSED))
    assert connection.batches.get(timeout=60) == [0, 1, 2]


@pytest.mark.parametrize("tests", [ADDS, StdioTests([Case(stdin="", stdout="")] * 5)])
def test_cancelling_a_running_program(hosted, tests):
    future = hosted.submit(SLEEP, tests)
    time.sleep(0.3)
    started = time.monotonic()
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    assert hosted.run(ADD, ADDS).passed
    assert time.monotonic() - started < 5


def test_submit_waits_while_too_many_are_on_their_way():
    with HostedSandbox(num_workers=1, max_pending=2) as sandbox:
        futures = [sandbox.submit(SLEEP, ADDS) for _ in range(2)]
        late = []
        thread = threading.Thread(target=lambda: late.append(sandbox.submit(ADD, ADDS)))
        thread.start()
        time.sleep(0.2)
        assert not late
        for future in futures:
            future.cancel()
        thread.join(10)
        assert late[0].result(10).passed


def test_callbacks_may_submit():
    with HostedSandbox(num_workers=1, max_pending=1) as sandbox:
        second = []
        future = sandbox.submit(ADD, ADDS)
        future.add_done_callback(lambda _: second.extend(sandbox.submit(ADD, ADDS) for _ in range(3)))
        assert future.result(10).passed
        assert wait_until(lambda: len(second) == 3)
        assert all(item.result(10).passed for item in second)


def test_nothing_is_left_behind():
    def state():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before, others = state(), descendants()
    sandbox = HostedSandbox(num_workers=2)
    assert sandbox.run(ADD, ADDS).passed
    futures = [sandbox.submit(SLEEP, ADDS) for _ in range(6)]
    time.sleep(0.3)
    mine = descendants() - others
    assert len(mine & workers()) >= 4
    started = time.monotonic()
    sandbox.close()
    assert time.monotonic() - started < 5
    assert not any(alive(pid) for pid in mine)
    assert all(future.cancelled() for future in futures)
    assert state() == before
    with pytest.raises(SandboxClosed, match="make a new one"):
        sandbox.submit(ADD, ADDS)
    sandbox.close()


def test_a_host_that_dies_is_an_error_for_all_who_wait():
    with HostedSandbox(num_workers=1) as sandbox:
        futures = [sandbox.submit(SLEEP, ADDS) for _ in range(3)]
        time.sleep(0.3)
        mine = descendants(sandbox.pid)
        os.kill(sandbox.pid, signal.SIGKILL)
        for future in futures:
            with pytest.raises(SandboxError, match="ended by itself"):
                future.result(10)
        with pytest.raises(SandboxError, match="ended by itself"):
            sandbox.submit(ADD, ADDS)
        assert wait_until(lambda: not any(alive(pid) for pid in mine))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"num_workers": 0}, ValueError, "at least one is needed"),
        ({"isolation": "none"}, IsolationUnavailable, "TRL_GIFT_ALLOW_NO_ISOLATION"),
    ],
)
def test_what_the_host_refuses_is_raised_here(monkeypatch, arguments, error, words):
    monkeypatch.delenv("TRL_GIFT_ALLOW_NO_ISOLATION", raising=False)
    others = descendants()
    with pytest.raises(error, match=words):
        HostedSandbox(**arguments)
    assert descendants() <= others


def test_what_is_no_program_is_refused_at_once(hosted):
    with pytest.raises(TypeError, match="a program comes as str"):
        hosted.submit(None, ADDS)
    assert hosted.run(ADD, ADDS).passed


@pytest.mark.parametrize(
    ("end", "signal_"),
    [
        ("time.sleep(60)", signal.SIGKILL),
        ("time.sleep(60)", signal.SIGTERM),
        ("pool.run('x', AssertTests('assert f()', entry_point='f'))", signal.SIGINT),
        ("raise RuntimeError", None),
        ("import os; os._exit(4)", None),
        ("import os\nif os.fork() == 0: time.sleep(5); os._exit(0)\ntime.sleep(60)", signal.SIGKILL),
    ],
)
def test_everything_ends_with_the_trainer(end, signal_):
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER.replace("LocalSandbox", "HostedSandbox").format(end=end)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "ready\n"
    processes = {int(pid) for pid in trainer.stdout.readline().split()}
    assert len(processes) >= 7
    if signal_ is not None:
        time.sleep(0.3)
        trainer.send_signal(signal_)
    trainer.wait(20)
    trainer.stdout.close()
    assert wait_until(lambda: not any(alive(pid) for pid in processes))


def test_a_fork_of_the_trainer_gets_a_clear_error(hosted):
    pid = os.fork()
    if pid == 0:
        try:
            hosted.submit(ADD, ADDS)
        except SandboxClosed as error:
            os._exit(7 if "make one here" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert hosted.run(ADD, ADDS).passed
