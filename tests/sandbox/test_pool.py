"""The local sandbox: what the three kinds of tests mean, and that nothing hangs, leaks or survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import CancelledError

import pytest

from tests.support.processes import BACKSTOP_S, alive, descendants, wait_until, workers
from tests.support.programs import ADD, ADDS, BUSY_ADD, ENDLESS, SLEEP
from trl_gift.sandbox import (
    AssertTests,
    CallTests,
    Case,
    Limits,
    LocalSandbox,
    Sandbox,
    SandboxClosed,
    Status,
    StdioTests,
)
from trl_gift.sandbox.deadlines import longest, wall_left

# --- what the tests mean ------------------------------------------------------------------------------------------


def test_assertions(sandbox):
    outcome = sandbox.run(ADD, ADDS)
    assert outcome.passed
    assert [result.status for result in outcome.results] == [Status.PASSED] * 3
    assert outcome.first_failure is None
    assert outcome.trusted
    assert "seccomp" in outcome.isolation
    assert 0 < outcome.cpu_s < 1
    assert outcome.wall_s > 0
    assert outcome.peak_memory_mb > 5


def test_first_failure_and_what_follows(sandbox):
    wrong = "def add(a, b):\n    print('adding', a, b)\n    return a + b if a != 2 else 5\n"
    outcome = sandbox.run(wrong, ADDS)
    assert outcome.status is Status.FAILED
    assert outcome.first_failure == 1
    assert "assert add(2, 2) == 4" in outcome.message
    assert "returned 5" in outcome.message
    assert [result.status for result in outcome.results] == [Status.PASSED, Status.FAILED, None]
    assert outcome.stdout_tail == "adding 1 2\nadding 2 2\n"
    outcome = sandbox.run(wrong, ADDS, stop_at_first_failure=False)
    assert [result.status for result in outcome.results] == [Status.PASSED, Status.FAILED, Status.PASSED]


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("def add(a, b):\n    raise ValueError('bad')", Status.ERROR, "ValueError: bad (line 2)"),
        ("def add(a, b:", Status.SYNTAX_ERROR, "line 1"),
        ("x = \ud800", Status.SYNTAX_ERROR, "surrogates"),
        ("def sub(a, b): return 0", Status.ERROR, "does not define add"),
        ("import not_there", Status.ERROR, "ModuleNotFoundError on import"),
        ("def add(a, b):\n    while True: pass", Status.TIMEOUT, "CPU time"),
        ("def add(a, b):\n    return 'x' * (2 << 30)", Status.MEMORY, "MemoryError"),
        ("def add(a, b):\n    open('/etc/hostname')", Status.ERROR, "FileNotFoundError"),
        ("import os\ndef add(a, b):\n    os.fork()", Status.VIOLATION, "PermissionError"),
        ("class P: pass\ndef add(a, b):\n    return P()", Status.ERROR, "solution.P cannot cross"),
    ],
)
def test_status(sandbox, program, status, words):
    outcome = sandbox.run(program, ADDS, limits=Limits(cpu_s=1, wall_s=BACKSTOP_S, memory_mb=512))
    if words == "FileNotFoundError" and "namespaces" not in sandbox.isolation:
        status, words = Status.VIOLATION, "PermissionError"
    assert (outcome.status, outcome.first_failure) == (status, 0)
    assert words in outcome.message


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def f(n):\n    if n < 0: raise ValueError('negative')", "try:\n    f(-1)\nexcept ValueError as e:\n    assert 'negative' in str(e)\nelse:\n    assert False"),
        ("class Mine(KeyError): pass\ndef f(n):\n    raise Mine(n)", "try:\n    f(1)\n    raise RuntimeError\nexcept KeyError as e:\n    assert e.args == (1,)"),
        ("def f(n):\n    return (i for i in range(n))", "assert list(f(3)) == [0, 1, 2]\nassert f(3) != [0, 1, 2]"),
        ("def f(n):\n    return lambda x: x + n", "g = f(2)\nassert g(3) == 5 and f(1)(1) == 2"),
        ("N = 5\ndef f(n):\n    return N", "assert f(0) == N == 5"),
        ("def helper(x):\n    return 2 * x\ndef f(n):\n    return helper(n)", "assert f(2) == helper(2)"),
        ("from collections import Counter\ndef f(n):\n    return Counter(n)", "assert f('aab') == {'a': 2, 'b': 1}"),
        ("import numpy as np\ndef f(n):\n    return np.int64(n) + 1", "assert f(2) == 3 and type(f(2)) is int"),
        ("import numpy as np\ndef f(n):\n    return np.arange(n)", "assert f(3).tolist() == [0, 1, 2]"),
        ("def f(*a, **k):\n    return [a, k]", "assert f(1, 2, x={3}) == [(1, 2), {'x': {3}}]"),
        ("def f(xs):\n    xs.append(1)\n    return xs", "xs = []\nassert f(xs) == [1]\nassert xs == []"),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int' = 1\ndef f(n):\n    return P().x", "assert f(0) == 1"),
        ("import threading\ndef f(n):\n    out = []\n    t = threading.Thread(target=out.append, args=(n,))\n    t.start(); t.join()\n    return out", "assert f(3) == [3]"),
        ("import sys\nsys.stdout = None\ndef f(n):\n    return n", "assert f(3) == 3"),
        ("# -*- coding: latin-1 -*-\ndef f(n):\n    return 'é'", "assert f(0) == 'é'"),
        ("def f(n):\n    return list(range(n))", "assert f(10**6) == list(range(10**6))"),
        ("def f(n):\n    return n * 2", "for i in range(50):\n    assert f(i) == 2 * i"),
        ("import math\ndef f(n):\n    return math.pi", "assert math.isclose(f(0), math.pi)"),
        ("import re\ndef f(n):\n    return re.search('b+', n)", "assert f('abb') and not f('a')\nassert f('abb').group() == 'bb'"),
        ("def f(n):\n    return n\nif __name__ == '__main__':\n    raise SystemExit", "assert f(1) == 1"),
    ],
)  # fmt: skip
def test_programs_that_are_right(sandbox, program, tests):
    if "numpy" in program:
        pytest.importorskip("numpy")
    outcome = sandbox.run(program, AssertTests(tests, entry_point="f"))
    assert outcome.passed, outcome


def test_a_function_named_like_a_builtin(sandbox):
    program = "def sum(a, b):\n    return a + b\n"
    assert sandbox.run(program, AssertTests("assert sum(1, 2) == 3", entry_point="sum")).passed
    # Only the entry point may take a builtin's name: tests that do not ask for it use their own.
    assert not sandbox.run(
        program + "def f(xs): return 0", AssertTests("assert sum([f(1)]) == 1", entry_point="f")
    ).passed


def test_arguments_by_reference(sandbox):
    program = "def f(xs, d):\n    xs.sort()\n    d.update(b=2)\n"
    source = "xs, d = [3, 1, 2], {'a': 1}\nf(xs, d)\nassert xs == [1, 2, 3]\nassert d == {'a': 1, 'b': 2}"
    assert sandbox.run(program, AssertTests(source, entry_point="f", pass_by="reference")).passed
    assert sandbox.run(program, AssertTests(source, entry_point="f")).status is Status.FAILED


def test_prelude_is_the_judges(sandbox):
    tests = AssertTests(
        "assert twice(f(2)) == 8", entry_point="f", prelude="def twice(x):\n    return 2 * x\ndef f(x):\n    pass"
    )
    assert sandbox.run("def f(x):\n    return 2 * x\ndef twice(x):\n    return 0", tests).passed


def test_human_eval_style(sandbox):
    check = "METADATA = {'author': 'jt'}\n\n\ndef check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"
    tests = AssertTests(check, entry_point="total")
    assert sandbox.run("def total(xs):\n    return sum(xs)", tests).passed
    outcome = sandbox.run("def total(xs):\n    return sum(xs) or None", tests)
    assert outcome.status is Status.FAILED
    assert outcome.message.startswith("assert candidate([]) == 0")


def test_tests_under_a_main_guard_run(sandbox):
    tests = AssertTests(
        "def go():\n    assert add(1, 2) == 3\nif __name__ == '__main__':\n    go()", entry_point="add"
    )
    assert sandbox.run(ADD, tests).passed
    assert sandbox.run("def add(a, b): return 0", tests).status is Status.FAILED


def test_passing_without_calling_the_program_proves_nothing(sandbox):
    tests = AssertTests("for x in []:\n    assert f(x)", entry_point="f")
    outcome = sandbox.run("def f(x):\n    return x", tests)
    assert outcome.status is Status.INFRASTRUCTURE
    assert "never called the program" in outcome.message


def test_arguments_that_cannot_cross_are_not_the_programs_fault(sandbox):
    tests = AssertTests("assert f(len) == 3", entry_point="f")
    outcome = sandbox.run("def f(g):\n    return g('abc')", tests)
    assert outcome.status is Status.INFRASTRUCTURE
    assert "shared=True" in outcome.message


def test_shared_mode_says_that_it_cannot_be_trusted(sandbox):
    program = "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
    tests = AssertTests("s = Stack()\ns.push(1)\nassert s.items == [1]\nassert isinstance(s, Stack)", shared=True)
    outcome = sandbox.run(program, tests)
    assert outcome.passed
    assert not outcome.trusted
    assert len(outcome.results) == 3  # the bare call may fail as well
    outcome = sandbox.run(program.replace("append(x)", "append(2)"), tests)
    assert outcome.status is Status.FAILED
    assert outcome.first_failure == 1
    assert not outcome.trusted


def test_calls(sandbox):
    tests = CallTests(
        "root", [Case(args=(4,), expected=2), Case(args=(2,), expected=1.41421, kwargs={"digits": 9})], abs_tol=1e-4
    )
    assert sandbox.run("def root(x, digits=3):\n    return round(x ** 0.5, digits)", tests).passed
    outcome = sandbox.run("def root(x, digits=3):\n    return x", tests)
    assert outcome.message == "root(4) returned 4, not 2"


def test_calls_of_methods(sandbox):
    tests = CallTests("Solution.two_sum", [Case(args=([2, 7], 9), expected=[0, 1])], compare="json")
    assert sandbox.run("class Solution:\n    def two_sum(self, xs, t):\n        return (0, 1)", tests).passed
    assert sandbox.run("class Solution:\n    pass", tests).status is Status.ERROR


def test_stdio(sandbox):
    tests = StdioTests(
        [Case(stdin="1 2\n", stdout="3\n"), Case(stdin="5 5", stdout="10"), Case(stdin="0 0", stdout="0")]
    )
    outcome = sandbox.run("a, b = map(int, input().split())\nprint(a + b)", tests)
    assert outcome.passed
    assert len(outcome.results) == 3
    assert all(result.cpu_s is not None for result in outcome.results)
    outcome = sandbox.run("a, b = map(int, input().split())\nprint(a * b - 15)", tests, stop_at_first_failure=False)
    assert [result.status for result in outcome.results] == [Status.FAILED, Status.PASSED, Status.FAILED]
    assert outcome.first_failure == 0
    assert outcome.message == "line 1 is '-13', not '3'"


@pytest.mark.parametrize(
    "program",
    [
        "import sys\nfor line in sys.stdin:\n    print(sum(map(int, line.split())))",
        "import sys\nsys.stdout.write(str(sum(map(int, sys.stdin.read().split()))))",
        "import os\nos.write(1, str(sum(map(int, os.read(0, 99).split()))).encode())",
        "print(sum(map(int, open(0).read().split())))\nexit()",
        "import sys, threading\ndef main():\n    print(sum(map(int, input().split())))\nthreading.stack_size(1 << 24)\nthreading.Thread(target=main).start()",
        "import atexit\natexit.register(lambda: print(s))\ns = sum(map(int, input().split()))",
        "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()",
        "import sys\ninput = sys.stdin.buffer.readline\nprint(sum(map(int, input().split())))\nsys.exit(0)",
    ],
)
def test_stdio_idioms(sandbox, program):
    outcome = sandbox.run(program, StdioTests([Case(stdin="1 2\n", stdout="3\n")]))
    assert outcome.passed, outcome


def test_stdio_checker(sandbox):
    checker = "def check(stdin, stdout, expected):\n    return sorted(stdout.split()) == sorted(expected.split())\n"
    tests = StdioTests([Case(stdin="", stdout="1 2")], checker=checker)
    assert sandbox.run("print(2, 1)", tests).passed
    assert sandbox.run("print(2)", tests).status is Status.FAILED


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        ("print(1 / 0)", Status.ERROR, "ZeroDivisionError: division by zero (line 1)"),
        ("raise SystemExit(2)", Status.ERROR, "exit status 2"),
        ("print(", Status.SYNTAX_ERROR, "never closed"),
        ("while True: pass", Status.TIMEOUT, "CPU time"),
        ("x = [0] * 10**9", Status.MEMORY, "MemoryError"),
        ("import os\nos.fork()", Status.VIOLATION, "PermissionError"),
        ("import ctypes\nctypes.string_at(0)", Status.ERROR, "SIGSEGV"),
    ],
)
def test_stdio_status(sandbox, program, status, words):
    limits = Limits(cpu_s=0.5, wall_s=BACKSTOP_S, memory_mb=256)
    outcome = sandbox.run(program, StdioTests([Case(stdin="", stdout="1")]), limits=limits)
    assert outcome.status is status
    assert words in outcome.message


def test_messages_are_safe_to_print(sandbox):
    outcome = sandbox.run("def add(a, b):\n    raise ValueError('\\x1b]0;title\\x07 \\u202e')", ADDS)
    assert r"\x1b]0;title\x07 \u202e" in outcome.message


def test_runs_repeat(sandbox):
    program = "import random\ndef f():\n    return [random.random(), list({'a', 'b', 'c', 'd'}), hash('x')]"
    first, second = (sandbox.run(program, CallTests("f", [Case()])).message for _ in range(2))
    assert first == second


# --- the machinery ------------------------------------------------------------------------------------------------


def test_is_a_sandbox(sandbox):
    assert isinstance(sandbox, Sandbox)


def test_map_in_order_and_as_completed(sandbox):
    with LocalSandbox(num_workers=2) as pool:
        pairs = [(BUSY_ADD, ADDS), *[(ADD, ADDS)] * 10]
        seen = []
        assert [index for index, outcome in pool.map(iter(pairs), progress=seen.append) if outcome.passed] == list(
            range(11)
        )
        assert seen == list(range(1, 12))
        assert sorted(index for index, _ in pool.map(pairs, ordered=False)) == list(range(11))
        pairs[0] = SLEEP, ADDS
        stream = pool.map(pairs, ordered=False, limits=ENDLESS)
        assert {next(stream)[0] for _ in range(10)} == set(range(1, 11)), "none of them waits for the first"
        stream.close()


def test_map_reads_lazily_and_cancels_the_remaining_programs():
    read = []

    def pairs():
        for index in range(1000):
            read.append(index)
            yield ADD, ADDS

    with LocalSandbox(num_workers=1) as pool:
        for index, _ in pool.map(pairs()):
            if index == 3:
                break
        assert len(read) < 20
        assert pool.run(ADD, ADDS).passed


@pytest.mark.parametrize(("in_process", "room"), [(True, 3), (False, 2)])  # a running program counts in the host only
def test_submit_waits_while_the_queue_is_full(in_process, room):
    with LocalSandbox(num_workers=1, max_pending=2, in_process=in_process) as pool:
        futures = [pool.submit(SLEEP, ADDS, limits=ENDLESS) for _ in range(room)]
        late = []
        thread = threading.Thread(target=lambda: late.append(pool.submit(ADD, ADDS)))
        thread.start()
        time.sleep(0.2)
        assert not late
        for future in futures:
            future.cancel()
        thread.join(BACKSTOP_S)
        assert late[0].result(BACKSTOP_S).passed


@pytest.mark.parametrize("in_process", [True, False])
def test_callbacks_may_submit(in_process):
    with LocalSandbox(num_workers=1, max_pending=1, in_process=in_process) as pool:
        second = []
        future = pool.submit(ADD, ADDS)
        future.add_done_callback(lambda _: second.extend(pool.submit(ADD, ADDS) for _ in range(3)))
        assert future.result(BACKSTOP_S).passed
        assert wait_until(lambda: len(second) == 3)
        assert all(item.result(BACKSTOP_S).passed for item in second)


@pytest.mark.parametrize("in_process", [True, False])
def test_cancelling_a_running_program(in_process):
    with LocalSandbox(num_workers=1, in_process=in_process) as pool:
        assert pool.run(ADD, ADDS).passed
        before = descendants()
        future = pool.submit(SLEEP, ADDS, limits=ENDLESS)
        assert wait_until(lambda: descendants() - before)
        started = time.monotonic()
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result()
        assert pool.submit(ADD, ADDS).result(BACKSTOP_S).passed
        assert time.monotonic() - started < BACKSTOP_S


@pytest.mark.parametrize("in_process", [True, False])
def test_cancelling_a_running_stdio_program(in_process):
    with LocalSandbox(num_workers=1, in_process=in_process) as pool:
        assert pool.run(ADD, ADDS).passed
        before = descendants()
        future = pool.submit(SLEEP, StdioTests([Case(stdin="", stdout="")] * 5), limits=ENDLESS)
        assert wait_until(lambda: len(descendants() - before) >= 2)  # the runner and its run
        assert future.cancel()
        assert pool.submit(ADD, ADDS).result(BACKSTOP_S).passed


def test_worker_death_is_repaired(sandbox):
    with LocalSandbox(num_workers=1) as pool:
        assert pool.run(ADD, ADDS).passed
        before = descendants()
        future = pool.submit(BUSY_ADD, ADDS)
        assert wait_until(lambda: descendants() - before)
        os.kill(pool._backend.slots[0]._workers["plain"].pid, signal.SIGKILL)
        outcome = future.result(BACKSTOP_S)
        assert outcome.passed
        assert outcome.attempts == 2


def test_two_worker_deaths_are_infrastructure():
    with LocalSandbox(num_workers=1) as pool:
        future = pool.submit(SLEEP, ADDS, limits=ENDLESS)
        killed = set()
        for _ in range(2):
            assert wait_until(
                lambda: pool._backend.slots[0]._busy and pool._backend.slots[0]._busy[0].pid not in killed
            )
            worker = pool._backend.slots[0]._busy[0]
            killed.add(worker.pid)
            # The fork server, its judge and the program; with namespaces, the worker is their launcher.
            assert wait_until(lambda pid=worker.pid: len(descendants(pid)) >= 2 + ("namespaces" in pool.isolation))
            os.kill(worker.pid, signal.SIGKILL)
        outcome = future.result(BACKSTOP_S)
        assert outcome.status is Status.INFRASTRUCTURE
        assert not outcome.passed
        assert pool.run(ADD, ADDS).passed


def test_a_silent_worker_is_noticed(monkeypatch):
    class Grace:
        """Short for the program whose worker is stopped, and without an end for its second try."""

        lengths = iter([1.0, BACKSTOP_S])

        def __radd__(self, last_limit_s):
            return next(self.lengths)

    others = descendants()
    with LocalSandbox(num_workers=1) as pool:
        assert pool.run(ADD, ADDS).passed
        monkeypatch.setattr("trl_gift.sandbox.pool.worker.GRACE_S", Grace())
        for pid in descendants() - others:
            os.kill(pid, signal.SIGSTOP)
        future = pool.submit(SLEEP, ADDS, limits=Limits(cpu_s=0.5, wall_s=0.5))
        outcome = future.result(BACKSTOP_S)  # the second try, in a new worker, meets the deadline
        assert outcome.status is Status.TIMEOUT
        assert outcome.attempts == 2


def test_wall_time_ends_sleepers_and_not_programs_that_compute():
    assert wall_left(wall_s=15, elapsed_s=14, used_s=0.2) == 1
    assert wall_left(wall_s=15, elapsed_s=15, used_s=1.4) == 0  # less than a tenth of a CPU
    assert wall_left(wall_s=15, elapsed_s=15, used_s=3) == 15  # a busy machine gave it a fifth of a CPU
    assert longest(cpu_s=5, wall_s=15) == 50
    assert longest(cpu_s=1, wall_s=15) == 15


_HALF_BUSY = """
import time
def work():
    started = time.monotonic()
    while time.monotonic() - started < 1.2:
        turn = time.process_time()
        while time.process_time() - turn < 0.02:
            pass
        time.sleep(0.01)
    return 3
"""


@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (_HALF_BUSY, CallTests("work", [Case(args=[], expected=3)])),
        (_HALF_BUSY + "print(work())", StdioTests([Case(stdin="", stdout="3")])),
    ],
    ids=["call", "stdio"],
)
def test_a_program_that_computes_outlasts_the_wall_limit(sandbox, program, tests):
    """It takes 1.2 s, because it gets at most two thirds of a CPU, as on a busy machine; the wall limit is 1 s."""
    outcome = sandbox.run(program, tests, limits=Limits(cpu_s=1, wall_s=1))
    assert outcome.passed, outcome.message
    assert outcome.wall_s > 1


def test_nothing_is_left_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the machine's own is not ours alone

    def files() -> set[str]:
        return {
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")
        }

    with LocalSandbox(num_workers=1):
        pass  # loads everything that is loaded only once
    before = len(os.listdir("/proc/self/fd")), threading.active_count(), descendants()
    for _ in range(3):
        with LocalSandbox(num_workers=2) as pool:
            list(
                pool.map(
                    [(ADD, ADDS), (SLEEP, ADDS), ("import numpy\n" + ADD, ADDS)], limits=Limits(cpu_s=0.2, wall_s=0.2)
                )
            )
            pool.submit(SLEEP, ADDS)
    after = len(os.listdir("/proc/self/fd")), threading.active_count(), descendants()
    assert after[:2] == before[:2], files()
    assert after[2] <= before[2]
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("tests", [ADDS, StdioTests([Case(stdin="", stdout="")])])
def test_nothing_is_left_at_the_moment_of_return(tests):
    others = descendants()
    pool = LocalSandbox(num_workers=1)
    pool.run(ADD, ADDS)
    idle = descendants()
    pool.submit(SLEEP, tests, limits=ENDLESS)
    assert wait_until(lambda: descendants() - idle)
    mine = (descendants() & workers()) - others
    assert len(mine) >= 3
    pool.close()
    assert not mine & workers()


def test_closing_ends_running_programs_at_once():
    pool = LocalSandbox(num_workers=2)
    assert pool.run(ADD, ADDS).passed
    idle = descendants()
    futures = [pool.submit(SLEEP, ADDS, limits=ENDLESS) for _ in range(6)]
    assert wait_until(lambda: descendants() - idle)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < BACKSTOP_S
    assert all(future.cancelled() for future in futures)
    with pytest.raises(SandboxClosed, match="make a new one"):
        pool.submit(ADD, ADDS)
    pool.close()


# A shell that runs the tests in the background has them, and what they start, ignore interrupts.
TRAINER = """
import signal, sys, time, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.support.processes import descendants, wait_until
from tests.support.programs import ENDLESS, SLEEP
from trl_gift.sandbox import LocalSandbox, AssertTests, StdioTests, Case
pool = LocalSandbox(num_workers=2, in_process={in_process})
pool.submit(SLEEP, AssertTests("assert f()", entry_point="f"), limits=ENDLESS)
pool.submit(SLEEP, StdioTests([Case(stdin="", stdout="")]), limits=ENDLESS)
# Two workers, two judges, a program, a runner and its run; each namespace has a launcher too, and there may be a host.
expected = 7 + 2 * ("namespaces" in pool.isolation) + (not {in_process})
wait_until(lambda: len(descendants()) >= expected)
print("ready", flush=True)
print(*descendants(), flush=True)
{end}
"""


@pytest.mark.parametrize("in_process", [True, False])
@pytest.mark.parametrize(
    ("end", "signal_"),
    [
        ("time.sleep(600)", signal.SIGKILL),
        ("time.sleep(600)", signal.SIGTERM),
        ("pool.run('x', AssertTests('assert f()', entry_point='f'))", signal.SIGINT),
        ("raise RuntimeError", None),
        ("sys.exit(3)", None),
        ("import os; os._exit(4)", None),
        ("import os\nif os.fork() == 0: sys.stdin.read(); os._exit(0)\ntime.sleep(600)", signal.SIGKILL),
    ],
)
def test_children_die_with_the_trainer(in_process, end, signal_):
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER.format(in_process=in_process, end=end)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert trainer.stdin is not None
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "ready\n"
    workers = {int(pid) for pid in trainer.stdout.readline().split()}
    assert len(workers) >= 7
    if signal_ is not None:
        time.sleep(0.3)
        trainer.send_signal(signal_)
    trainer.wait(BACKSTOP_S)
    trainer.stdout.close()
    assert wait_until(lambda: not any(alive(pid) for pid in workers))
    trainer.stdin.close()  # a fork of the trainer, where the test made one, outlives the workers until now


@pytest.mark.parametrize("in_process", [True, False])
def test_a_fork_of_the_trainer_gets_a_clear_error(in_process):
    with LocalSandbox(num_workers=1, in_process=in_process) as sandbox:
        pid = os.fork()
        if pid == 0:
            try:
                sandbox.submit(ADD, ADDS)
            except SandboxClosed as error:
                os._exit(7 if "make a new one here" in str(error) else 8)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert sandbox.run(ADD, ADDS).passed


def test_made_and_used_by_many_threads():
    results = []

    def work():
        with LocalSandbox(num_workers=1) as pool:
            results.append(pool.run(ADD, ADDS).passed)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_a_pool_outlives_the_thread_that_made_it():
    made = []
    thread = threading.Thread(target=lambda: made.append(LocalSandbox(num_workers=1)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    with made[0] as pool:
        outcome = pool.run(ADD, ADDS)
        assert outcome.passed
        assert outcome.attempts == 1


def test_import_is_light():
    code = "import sys; before = set(sys.modules); import trl_gift.sandbox; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {name for name in loaded if name.split(".")[0] in ("torch", "numpy", "transformers", "datasets", "ray")}
    ours = {name for name in loaded if name.startswith("trl_gift.") and not name.startswith("trl_gift.sandbox")}
    assert not ours


def test_import_does_without_linux():
    """The package must say on other systems what to do instead, so importing it may not touch Linux's C library."""
    code = "import ctypes; ctypes.CDLL = ctypes.PyDLL = None; import trl_gift.sandbox; trl_gift.sandbox.SandboxFusionSandbox"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_ten_thousand_programs_leave_everything_flat():
    with LocalSandbox(num_workers=2) as pool:

        def size() -> tuple[int, int, int]:
            pids = descendants()
            return len(os.listdir("/proc/self/fd")), len(pids), sum(resident(pid) for pid in {os.getpid(), *pids})

        list(pool.map([(ADD, ADDS)] * 500))
        before = size()
        assert all(outcome.passed for _, outcome in pool.map(((ADD, ADDS) for _ in range(10_000)), ordered=False))
        after = size()
    assert after[:2] == before[:2]
    assert after[2] < before[2] + (16 << 20)


def resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
