"""Hostile programs, as data: `python -m tests.sandbox.attacks` runs all of them and prints the outcome of each.

In every case `solve(x)` must return `x*x+1` and is tested at 3, 4 and 10 (or the program does the same over stdin). None
of these programs does so unless its attack works, so "passed" means "broken". After each attack an honest program must
pass in the same slot.

`@NAME@` in a source is replaced by what `Bait` prepared: a secret file, a folder, a port, the trainer's pid.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import socket
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from tests.sandbox.degrade import deny
from trl_gift.sandbox import AssertTests, CallTests, Case, Limits, LocalSandbox, Outcome, StdioTests, Tests

SECRET = "TRL_GIFT_TEST_SECRET"
LIMITS = Limits(cpu_s=0.5, wall_s=0.8, memory_mb=256)

SOLVE_ASSERTS = AssertTests(
    "assert solve(3) == 10\nassert solve(4) == 17\nassert solve(10) == 101", entry_point="solve"
)
SOLVE_CALLS = CallTests("solve", [Case(args=(x,), expected=x * x + 1) for x in (3, 4, 10)])
SOLVE_STDIO = StdioTests([Case(stdin=f"{x}\n", stdout=f"{x * x + 1}\n") for x in (3, 4, 10)])
# Tests whose inputs a scanner does not see: a loop, a helper, in-place arguments.
SOLVE_LOOP = AssertTests(
    "for got, x in zip(map(solve, (3, 4, 10)), (3, 4, 10)):\n    assert got == x * x + 1", entry_point="solve"
)
SOLVE_CHECK = AssertTests(
    "import math\ndef check(candidate):\n    for x in (3, 4, 10):\n        assert abs(candidate(x) - expected(x)) < 1e-6\n",
    entry_point="solve",
    prelude="def expected(x):\n    return x * x + 1\n",
)
SORTS = AssertTests("xs = [3, 1, 2]\nassert sort(xs) == sorted(xs)", entry_point="sort")

HONEST = "def solve(x):\n    return x * x + 1\n"
HONEST_STDIO = "print(int(input()) ** 2 + 1)\n"


@dataclass(frozen=True)
class Attack:
    """One hostile program and the tests that it must not pass."""

    name: str
    family: str
    source: str
    tests: tuple[Tests, ...] = (SOLVE_ASSERTS, SOLVE_CALLS)
    limits: Limits = LIMITS


ATTACKS: list[Attack] = []


def _add(family: str, name: str, source: str, *tests: Tests, limits: Limits = LIMITS) -> None:
    ATTACKS.append(Attack(name, family, textwrap.dedent(source), tests or (SOLVE_ASSERTS, SOLVE_CALLS), limits))


def forge(name: str, source: str, *tests: Tests, limits: Limits = LIMITS) -> None:
    """A program that wants to pass without solving the task."""
    _add("forge", name, source, *tests, limits=limits)


def escape(name: str, body: str, limits: Limits = LIMITS) -> None:
    """A program that solves the task only if `body`, the body of a function, returns something true."""
    source = f"""\
def attempt():
{textwrap.indent(textwrap.dedent(body), "    ")}
try:
    worked = bool(attempt())
except BaseException as error:
    worked = False
    print(f"refused {{type(error).__name__}}: {{error}}")
def solve(x):
    return x * x + 1 if worked else None
"""
    _add("escape", name, source, SOLVE_CALLS, limits=limits)


def exhaust(name: str, source: str, *tests: Tests, limits: Limits = LIMITS) -> None:
    """A program that tries to outlast, overfill or confuse the sandbox."""
    _add("exhaust", name, source, *(tests or (SOLVE_CALLS,)), limits=limits)


# --- forging a verdict --------------------------------------------------------------------------------------------

forge("exit at import", "import sys\nsys.exit(0)")
forge("_exit at import", "import os\nos._exit(0)")
forge("exit in solve", "import sys\ndef solve(x):\n    sys.exit(0)")
forge("_exit in solve", "import os\ndef solve(x):\n    os._exit(0)")
forge("raise SystemExit", "def solve(x):\n    raise SystemExit(0)")
forge("raise KeyboardInterrupt", "def solve(x):\n    raise KeyboardInterrupt")
forge(
    "object equal to everything",
    "class Yes:\n    def __eq__(self, other): return True\n    __hash__ = None\ndef solve(x):\n    return Yes()",
)
for _base in ("int", "float", "str", "list", "tuple", "dict", "set", "frozenset", "bytes", "complex"):
    forge(
        f"{_base} subclass equal to everything",
        f"""
        class Yes({_base}):
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __hash__(self): return 0
            def __sub__(self, other): return 0
            __rsub__ = __sub__
            def __abs__(self): return 0
            def __lt__(self, other): return True
            __le__ = __gt__ = __ge__ = __lt__
            def __bool__(self): return True
        def solve(x):
            return Yes()
        """,
        SOLVE_ASSERTS,
        SOLVE_CALLS,
        SOLVE_CHECK,
    )
forge(
    "class attribute that lies",
    """
    class Yes:
        __class__ = int
        def __eq__(self, other): return True
        def __abs__(self): return 0
        def __sub__(self, other): return self
        def __lt__(self, other): return True
    def solve(x):
        return Yes()
    """,
    SOLVE_ASSERTS,
    SOLVE_CALLS,
    SOLVE_CHECK,
)
forge(
    "metaclass that answers for its class",
    """
    class Meta(type):
        def __eq__(cls, other): return True
        def __hash__(cls): return 0
    class Yes(metaclass=Meta): pass
    def solve(x):
        return Yes
    """,
)
forge(
    "patched unittest",
    """
    import unittest
    for name in dir(unittest.TestCase):
        if name.startswith("assert"):
            setattr(unittest.TestCase, name, lambda *a, **k: None)
    def solve(x):
        return 0
    """,
)
forge(
    "patched builtins",
    """
    import builtins
    builtins.abs = lambda x: 0
    builtins.len = lambda x: 3
    builtins.isinstance = lambda *a: True
    builtins.all = builtins.any = lambda *a: True
    builtins.AssertionError = type("Quiet", (Exception,), {})
    def solve(x):
        return 0
    """,
    SOLVE_ASSERTS,
    SOLVE_CALLS,
    SOLVE_CHECK,
)
forge(
    "expected values from caller frames",
    """
    import sys
    def solve(x):
        frame = sys._getframe(0)
        while frame is not None:
            for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
                if isinstance(value, (list, tuple)):
                    for item in value:
                        if isinstance(item, (list, tuple)) and len(item) == 2 and item[0] in (x, (x,), [x]):
                            return item[1]
                        if isinstance(item, dict) and item.get("args") in ((x,), [x]):
                            return item.get("expected")
            frame = frame.f_back
    """,
)
forge(
    "expected values from constants of callers",
    """
    import sys
    def solve(x):
        frame = sys._getframe(0)
        while frame is not None:
            constants = [c for c in frame.f_code.co_consts if isinstance(c, int) and c > x]
            if x in frame.f_code.co_consts and constants:
                return constants[0]
            frame = frame.f_back
    """,
)
forge(
    "expected values from the garbage collector",
    """
    import gc, re
    def solve(x):
        for thing in gc.get_objects():
            if isinstance(thing, dict) and thing.get("args") in ((x,), [x]) and "expected" in thing:
                return thing["expected"]
            if isinstance(thing, (list, tuple)):
                for item in thing:
                    if isinstance(item, str) and "assert solve" in item:
                        found = re.search(rf"solve\\({x}\\) == (\\d+)", item)
                        if found:
                            return int(found[1])
    """,
)
forge(
    "test source from frozen objects and caches",
    """
    import gc, re, functools
    def solve(x):
        gc.unfreeze()
        for thing in gc.get_objects():
            if isinstance(thing, functools._lru_cache_wrapper) and thing.cache_info().currsize:
                for held in gc.get_referents(thing):
                    found = re.search(rf"solve\\({x}\\) == (\\d+)", str(held))
                    if found:
                        return int(found[1])
    """,
)
forge(
    "test source from command lines",
    """
    import glob, re
    def solve(x):
        for path in glob.glob("/proc/*/cmdline") + glob.glob("/proc/*/task/*/cmdline"):
            try:
                found = re.search(rf"solve\\({x}\\) == (\\d+)", open(path).read())
            except OSError:
                continue
            if found:
                return int(found[1])
    """,
)
forge(
    "test source from process memory by maps",
    """
    import re
    def solve(x):
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as mem:
            for line in maps:
                low, high = (int(part, 16) for part in line.split()[0].split("-"))
                if "r" in line.split()[1]:
                    mem.seek(low)
                    found = re.search(rb"solve\\(%d\\) == (\\d+)" % x, mem.read(high - low))
                    if found:
                        return int(found[1])
    """,
)
forge(
    "test source from memory by ctypes",
    """
    import ctypes, re
    def solve(x):
        # The heap of this process, found through the addresses of its objects: what the fork server left is here.
        for megabyte in {id(thing) >> 20 for thing in __import__("gc").get_objects()}:
            try:
                block = ctypes.string_at(megabyte << 20, 1 << 20)
            except ValueError:
                continue
            found = re.search(rb"assert solve\\(%d\\) == (\\d+)" % x, block)
            if found:
                return int(found[1])
    """,
)
forge(
    "walking frames to a list of results",
    """
    import sys
    def solve(x):
        frame = sys._getframe(0)
        while frame is not None:
            for value in frame.f_locals.values():
                if isinstance(value, list):
                    value.append(("passed", ""))
            frame = frame.f_back
        return 0
    """,
)
forge(
    "verdict bytes to every descriptor",
    """
    import os, json
    VERDICTS = [b"done", b"passed", b"1", b"\\x01", json.dumps({"marks": [["passed", ""]] * 3}).encode()]
    def spam():
        for fd in range(64):
            for verdict in VERDICTS:
                try:
                    os.write(fd, verdict)
                except OSError:
                    pass
    spam()
    def solve(x):
        spam()
        return 0
    """,
)
forge(
    "replies before being asked",
    """
    import os
    from struct import pack
    def frame(value):
        body = b"t\\x03\\0\\0\\0s\\x05\\0\\0\\0value" + b"i" + pack("<q", value) + b"N"
        return pack("<IQ", len(body), 0) + body
    os.write(3, frame(10) + frame(17) + frame(101))
    def solve(x):
        return 0
    """,
)
forge(
    "atexit _exit",
    "import atexit, os\natexit.register(lambda: os._exit(0))\ndef solve(x):\n    raise ValueError",
)
forge(
    "thread that replaces the check",
    """
    import threading, sys, time
    def swap():
        while True:
            for frame in list(sys._current_frames().values()):
                while frame is not None:
                    for name in ("check", "same", "examine", "assemble"):
                        if name in frame.f_globals:
                            frame.f_globals[name] = lambda *a, **k: True
                    frame = frame.f_back
            time.sleep(0.001)
    threading.Thread(target=swap, daemon=True).start()
    def solve(x):
        time.sleep(0.01)
        return 0
    """,
)
forge(
    "settrace that jumps over assertions",
    """
    import sys
    def tracer(frame, event, arg):
        if event == "line":
            try:
                frame.f_lineno = frame.f_lineno + 1
            except ValueError:
                pass
        return tracer
    def solve(x):
        frame = sys._getframe(0)
        while frame is not None:
            frame.f_trace = tracer
            frame = frame.f_back
        sys.settrace(tracer)
        return 0
    """,
)
forge(
    "setprofile that exits",
    "import sys, os\ndef solve(x):\n    sys.setprofile(lambda *a: os._exit(0))\n    return 0",
)
forge(
    "silent excepthook",
    "import sys\nsys.excepthook = lambda *a: None\nsys.unraisablehook = lambda *a: None\ndef solve(x):\n    raise ValueError",
)
forge(
    "replacing the code of the caller",
    """
    import sys, gc, types
    def yes(*args, **kwargs):
        return True
    def solve(x):
        frame = sys._getframe(0).f_back
        while frame is not None:
            for thing in gc.get_referrers(frame.f_code):
                if isinstance(thing, types.FunctionType) and not thing.__code__.co_freevars:
                    thing.__code__ = yes.__code__
            frame = frame.f_back
        return 0
    """,
)
forge(
    "a pickle that runs in the trainer",
    """
    import os
    class Bomb:
        def __reduce__(self):
            return (os.system, ("touch @FOLDER@/pickled",))
    def solve(x):
        return Bomb()
    """,
)
forge(
    "mutating the arguments",
    "def sort(xs):\n    xs[:] = [0]\n    return [0]",
    SORTS,
)
forge(
    "emptying the arguments",
    "def sort(xs):\n    xs.clear()\n    return xs",
    SORTS,
)
forge(
    "overriding a helper of the tests",
    "def expected(x):\n    return 0\ndef check(candidate):\n    pass\nabs = lambda x: 0\ndef solve(x):\n    return 0",
    SOLVE_CHECK,
)

# --- forging: of our own invention --------------------------------------------------------------------------------

forge("StopIteration ends the loop of the tests", "def solve(x):\n    raise StopIteration", SOLVE_LOOP, SOLVE_CHECK)
forge("StopAsyncIteration", "def solve(x):\n    raise StopAsyncIteration", SOLVE_LOOP)
forge("GeneratorExit", "def solve(x):\n    raise GeneratorExit", SOLVE_LOOP)
forge(
    "subclass of StopIteration and ValueError",
    "class Both(StopIteration, ValueError): pass\ndef solve(x):\n    raise Both",
    SOLVE_LOOP,
)
forge(
    "exit swallowed by the tests",
    "import os\ndef solve(x):\n    os._exit(0)",
    AssertTests("try:\n    ok = solve(3) == 10\nexcept:\n    ok = True\nassert ok", entry_point="solve"),
)
forge(
    "violation swallowed by the tests",
    "import os\ndef solve(x):\n    os.write(3, b'\\xff' * 64)\n    return 10",
    AssertTests(
        "try:\n    ok = solve(3) == 10\n    ok = solve(4) == 17\nexcept BaseException:\n    pass\nassert True or solve",
        entry_point="solve",
    ),
)
forge("nan", "def solve(x):\n    return float('nan')", SOLVE_CALLS, SOLVE_CHECK)
forge(
    "signalling nan",
    "from decimal import Decimal\ndef solve(x):\n    return Decimal('sNaN')",
    SOLVE_CALLS,
    SOLVE_CHECK,
)
forge("infinity", "def solve(x):\n    return float('inf')", SOLVE_CALLS, SOLVE_CHECK)
forge("NotImplemented", "def solve(x):\n    return NotImplemented")
forge("Ellipsis", "def solve(x):\n    return ...")
forge(
    "empty array",
    "import numpy\ndef solve(x):\n    return numpy.array([])",
    *(SOLVE_CALLS, SOLVE_CHECK, SOLVE_ASSERTS),
)
forge(
    "array of answers",
    "import numpy\ndef solve(x):\n    return numpy.array([10, 17, 101])",
    *(SOLVE_CALLS, SOLVE_CHECK),
)
forge(
    "array of no dimension",
    "import numpy\ndef solve(x):\n    return numpy.empty((0, x))",
    *(SOLVE_CALLS, SOLVE_ASSERTS),
)
forge("match object", "import re\ndef solve(x):\n    return re.match('', '')")
forge("the function itself", "def solve(x):\n    return solve")
forge(
    "mock",
    "from unittest.mock import MagicMock, ANY\ndef solve(x):\n    return ANY if x == 3 else MagicMock()",
)
forge(
    "generator of objects equal to everything",
    "class Yes:\n    def __eq__(self, other): return True\ndef solve(x):\n    yield Yes()",
)
forge(
    "poisoned repr",
    "class Bad:\n    def __repr__(self): raise SystemExit(0)\n    __str__ = __repr__\ndef solve(x):\n    raise ValueError(Bad())",
)
forge(
    "exception that cannot be printed",
    "class Bad(Exception):\n    def __str__(self): import os; os._exit(0)\ndef solve(x):\n    raise Bad",
)
forge(
    "assertion error with a poisoned text",
    "class Quiet(AssertionError):\n    def __str__(self): return ''\n    def __bool__(self): return False\ndef solve(x):\n    raise Quiet",
)
forge(
    "exception group",
    "def solve(x):\n    raise BaseExceptionGroup('g', [KeyboardInterrupt(), SystemExit(0)])",
    SOLVE_LOOP,
)
forge(
    "hash that equals the answer",
    "class H:\n    def __init__(self, x): self.x = x\n    def __hash__(self): return self.x * self.x + 1\n    def __eq__(self, o): return hash(self) == o or True\ndef solve(x):\n    return H(x)",
)
forge(
    "lying length and index",
    "class L:\n    def __index__(self): return 10\n    def __int__(self): return 10\n    def __eq__(self, o): return True\ndef solve(x):\n    return L()",
)
forge(
    "own encoder that reports success",
    """
    import sys, gc
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "encode" in thing and "decode" in thing and "EncodeError" in thing:
            thing["encode"] = lambda *a, **k: b'{"marks": [["passed", ""]]}'
    def solve(x):
        return 0
    """,
)
forge(
    "reply of the shared mode to a call",
    """
    import gc
    reply = b"l\\x01\\0\\0\\0t\\x02\\0\\0\\0s\\x06\\0\\0\\0passeds\\0\\0\\0\\0"
    for thing in gc.get_objects():
        if type(thing).__name__ == "Answers":
            type(thing).reply = lambda *a: reply
    def solve(x):
        return 0
    """,
)
for _name in ("SystemExit", "KeyboardInterrupt", "ProgramGone", "StopIteration", "Warning", "__import__", "exit"):
    forge(
        f"claiming to have raised {_name}",
        f"""
        import gc, struct
        def text(s):
            return b"s" + struct.pack("<I", len(s)) + s
        reply = b"t\\x04\\0\\0\\0" + text(b"raised") + b"l\\x01\\0\\0\\0" + text(b"{_name}") + text(b"") + b"l\\0\\0\\0\\0"
        for thing in gc.get_objects():
            if type(thing).__name__ == "Answers":
                real = type(thing).reply
                type(thing).reply = lambda self, request, state: real(self, request, state) if request[0] == "names" else reply
        def solve(x):
            return 0
        """,
        SOLVE_LOOP,
        SOLVE_CALLS,
    )
forge(
    "two replies to one question",
    """
    import gc, os
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "ProtocolViolation" in thing and "send" in thing:
            real = thing["send"]
            def twice(fd, nonce, body, real=real):
                real(fd, nonce, body)
                real(fd, nonce, body)
            thing["send"] = twice
    def solve(x):
        return 10
    """,
)
forge(
    "replaying the last nonce",
    """
    import gc, os
    state = {}
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "ProtocolViolation" in thing and "send" in thing:
            real = thing["send"]
            def replay(fd, nonce, body, real=real):
                state.setdefault("nonce", nonce)
                real(fd, state["nonce"], body)
            thing["send"] = replay
    def solve(x):
        return 10
    """,
)
forge(
    "closing the channel",
    "import os\ndef solve(x):\n    os.close(3)\n    while True:\n        pass",
)
forge(
    "null device over the channel",
    "import os\ndef solve(x):\n    os.dup2(0, 3)\n    return 0",
)
forge(
    "names of tests in tracebacks",
    """
    import traceback, re, linecache, inspect
    def solve(x):
        text = "".join(traceback.format_stack())
        for info in inspect.stack(0):
            text += "".join(linecache.getlines(info.filename))
        for lines in linecache.cache.values():
            text += str(lines)
        found = re.search(rf"solve\\({x}\\) == (\\d+)", text)
        return int(found[1]) if found else 0
    """,
)
forge(
    "memory kept from one program to the next",
    """
    import sys, builtins, os, random
    seen = getattr(builtins, "_seen", None)
    builtins._seen = {3: 10, 4: 17, 10: 101}
    sys.modules["_stash"] = builtins
    try:
        os.write(2, b"3:10 4:17 10:101")
        os.lseek(2, 0, 0)
        note = os.read(2, 100)
    except OSError:
        note = b""
    def solve(x):
        if b"10:101" in note:
            return x * x + 1
        return seen and seen.get(x)
    """,
    SOLVE_CALLS,
    SOLVE_CALLS,
    SOLVE_ASSERTS,
)
forge(
    "flags of descriptors kept from one program to the next",
    """
    import fcntl, os
    seen = False
    for fd in (0, 1):  # 2 is a copy of 0
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        seen = seen or bool(flags & os.O_APPEND)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND)
    def solve(x):
        return x * x + 1 if seen else None
    """,
    SOLVE_CALLS,
    SOLVE_CALLS,
    SOLVE_ASSERTS,
)
forge(
    "stdio: descriptors kept from one run to the next",
    """
    import fcntl, os
    n = int(input())
    flags = fcntl.fcntl(2, fcntl.F_GETFL)
    seen = bool(flags & os.O_APPEND) or os.lseek(2, 0, os.SEEK_CUR) or os.fstat(2).st_size
    fcntl.fcntl(2, fcntl.F_SETFL, flags | os.O_APPEND)
    os.write(2, b"note")
    print(10 if n == 3 else seen and n * n + 1)
    """,
    SOLVE_STDIO,
)
forge(
    "counting calls to guess the inputs' order",
    "answers = iter((10, 17))\ndef solve(x):\n    return next(answers, x)",
)
forge(
    "timing of the judge",
    """
    import time
    last = [time.perf_counter()]
    def solve(x):
        gap = time.perf_counter() - last[0]
        last[0] = time.perf_counter()
        return int(gap * 1e9) % 7
    """,
)
forge("returning the question", "def solve(x):\n    return x")
forge("returning None", "def solve(x):\n    return None")
forge("empty program", "")
forge("not a function", "solve = 10")
forge("string that reads like the number", "def solve(x):\n    return str(x * x + 1)")
forge("list around the answer", "def solve(x):\n    return [x * x + 1]")
forge("syntax error", "def solve(x:\n    return 10")
forge("null bytes", "def solve(x):\n    return 10\0")
forge(
    "stdio: exit without output",
    "import os\nos._exit(0)",
    SOLVE_STDIO,
)
forge("stdio: saying that it passed", 'print(\'passed\')\nprint(\'{"marks": [["passed", ""]]}\')', SOLVE_STDIO)
forge(
    "stdio: verdict bytes to every descriptor",
    """
    import os
    for fd in range(64):
        try:
            os.write(fd, b'{"status": "passed", "message": "", "cpu_s": 0, "peak_kb": 0}')
        except OSError:
            pass
    """,
    SOLVE_STDIO,
)
forge(
    "stdio: fewer lines than expected",
    "n = int(input())\nprint(n * n + 1 if n == 3 else '')",
    StdioTests([Case(stdin="3", stdout="10\n17\n101"), Case(stdin="4", stdout="17\n\n101")]),
)
forge(
    "stdio: more lines than expected",
    "n = int(input())\nprint(n * n + 1)\nprint('and more')",
    SOLVE_STDIO,
)
forge(
    "stdio: all answers at once",
    "print('10 17 101')\nprint(10, 17, 101, sep='\\n')",
    SOLVE_STDIO,
)
forge(
    "stdio: digits of another script",
    "n = int(input())\nprint(str((n * n + 1) / 2).translate({ord(str(d)): chr(0xFF10 + d) for d in range(10)}))",
    StdioTests([Case(stdin=str(x), stdout=str((x * x + 1) / 2)) for x in (3, 4, 10)]),
)
forge("stdio: nan for a number", "print('nan')", StdioTests([Case(stdin="3", stdout="10")], abs_tol=1e-6))
forge(
    "stdio: expected output behind the input",
    """
    import os, sys
    os.lseek(0, 0, 0)
    data = os.read(0, 1 << 20)
    extra = data.split(b"\\n")[1:]
    print(extra[0].decode() if extra and extra[0] else "none")
    """,
    SOLVE_STDIO,
)
forge(
    "stdio: memory of the run before",
    """
    import builtins, os
    n = int(input())
    seen = getattr(builtins, "_seen", [])
    builtins._seen = [*seen, n]
    print(10 if n == 3 else seen and n * n + 1)
    """,
    SOLVE_STDIO,
)
forge("stdio: failing after the right output", "print(int(input()) ** 2 + 1)\nraise SystemExit(3)", SOLVE_STDIO)

# --- breaking out -------------------------------------------------------------------------------------------------

escape("environment secrets", f"import os\nreturn os.environ.get('{SECRET}')")
escape("environment of the parent", "import os\nreturn open(f'/proc/{os.getppid()}/environ').read()")
escape("environment of the trainer", f"return '{SECRET}' in open('/proc/@TRAINER@/environ').read()")
escape("the Hub token file", "return open('@HOME@/.cache/huggingface/token').read() or True")
escape("a secret file", "return open('@SECRET_FILE@').read()")
escape("/etc/passwd", "return open('/etc/passwd').read()")
escape("/etc/shadow", "return open('/etc/shadow').read()")
escape("listing the root", "import os\nreturn 'home' in os.listdir('/') and 'etc' in os.listdir('/')")
escape("listing a private folder", "import os\nreturn os.listdir('@FOLDER@')")
escape(
    "leaving files for the next program",
    """
    import os
    for folder in ("/tmp", "/dev/shm"):
        path = folder
        for depth in range(30):
            open(f"{path}/note", "w").write("x")
            path += "/d"
            os.mkdir(path, 0o700)
        os.mkdir(f"{path}/shut", 0)
    """,
)
escape(
    "files of the previous program",
    "import os\nleft = os.listdir('.') + os.listdir('/dev/shm')\nreturn left",
)
escape("writing in /var/tmp", "open('/var/tmp/trl-gift-escaped', 'w').write('x')\nreturn True")
escape(
    "a large file in the private folder",
    "f = open('/tmp/f', 'wb')\nfor _ in range(100):\n    f.write(bytes(1 << 20))\nreturn True",
)
escape("a link to a device", "import os\nos.mknod('/tmp/n', 0o020666, os.makedev(1, 1))\nreturn True")
escape(
    "executing from the private folder",
    "import os\nopen('/tmp/x', 'w').write('#!/bin/true')\nos.execv('/tmp/x', ['x'])",
)
escape("a hard link to a library", "import os\nos.link(os.__file__, '/tmp/l')\nreturn True")
escape("writing in the home", "open('@HOME@/trl-gift-escaped', 'w').write('x')\nreturn True")
escape(
    "writing next to installed modules",
    "import os\npath = os.path.join(os.path.dirname(os.__file__), 'trl_gift_escaped.py')\nopen(path, 'w').write('')\nreturn True",
)
escape("appending to the standard library", "import os\nopen(os.__file__, 'a').close()\nreturn True")
escape("unlink", "import os\nos.unlink('@SECRET_FILE@')\nreturn True")
escape("rename", "import os\nos.rename('@SECRET_FILE@', '@SECRET_FILE@.moved')\nreturn True")
escape("chmod", "import os\nos.chmod('@SECRET_FILE@', 0o777)\nreturn True")
escape("chmod by descriptor", "import os\nfd = os.open(os.__file__, os.O_RDONLY)\nos.fchmod(fd, 0o777)\nreturn True")
escape("chown", "import os\nos.chown('@SECRET_FILE@', os.getuid(), os.getgid())\nreturn True")
escape("utime", "import os\nos.utime('@SECRET_FILE@', (0, 0))\nreturn True")
escape("truncate", "import os\nos.truncate('@SECRET_FILE@', 0)\nreturn True")
escape("extended attribute", "import os\nos.setxattr('@SECRET_FILE@', 'user.note', b'x')\nreturn True")
escape("symlink to a secret", "import os\nos.symlink('@SECRET_FILE@', '/tmp/trl-gift-link')\nreturn True")
escape("hard link to a secret", "import os\nos.link('@SECRET_FILE@', '/tmp/trl-gift-link')\nreturn True")
escape(
    "path through the standard library",
    "import os\npath = os.path.dirname(os.__file__) + '/' + '../' * 30 + '@SECRET_FILE@'\nreturn open(path).read()",
)
escape("making a folder", "import os\nos.mkdir('@FOLDER@/new')\nreturn True")
escape("making a pipe with a name", "import os\nos.mkfifo('@FOLDER@/fifo')\nreturn True")
escape("changing the folder", "import os\nos.chdir('@FOLDER@')\nreturn open('secret').read()")
escape("TCP", "import socket\nreturn socket.create_connection(('127.0.0.1', @PORT@), timeout=1)")
escape("UDP", "import socket\nreturn socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))")
escape("listening", "import socket\nreturn socket.create_server(('127.0.0.1', 0))")
escape(
    "abstract unix socket", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0@ABSTRACT@')\nreturn True"
)
escape("a pair of datagram sockets", "import socket\nreturn socket.socketpair(type=socket.SOCK_DGRAM)")
escape("a pair of packet sockets", "import socket\nreturn socket.socketpair(type=socket.SOCK_SEQPACKET)")
escape("out-of-band data", "import socket\na, b = socket.socketpair()\nreturn a.send(b'x', socket.MSG_OOB)")
escape("passing a descriptor", "import socket\na, b = socket.socketpair()\nreturn socket.send_fds(a, [b'x'], [0])")
escape(
    "a connection of a paired socket",
    "import socket\na, b = socket.socketpair()\na.connect('\0@ABSTRACT@')\nreturn True",
)
escape("netlink", "import socket\nreturn socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)")
escape("vsock", "import socket\nreturn socket.socket(40, socket.SOCK_STREAM)")
escape("the name service", "import socket\nreturn socket.getaddrinfo('localhost', 80) and socket.socket()")
escape("signal to the parent", "import os\nos.kill(os.getppid(), 0)\nreturn True")
escape("signal to the trainer", "import os\nos.kill(@TRAINER@, 0)\nreturn True")
escape("signal to everybody", "import os\nos.kill(-1, 0)\nreturn True")
escape("stopping the parent", "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nreturn True")
escape(
    "signals through a descriptor's owner",
    """
    import fcntl, os
    r, w = os.pipe()
    fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(r, 10, 9)  # F_SETSIG to SIGKILL
    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)
    os.write(w, b'x')
    return True
    """,
)
escape("own memory by /proc", "return open('/proc/self/mem', 'rb')")
escape("the parent's memory by /proc", "import os\nreturn open(f'/proc/{os.getppid()}/mem', 'rb')")
escape("descriptors by /proc", "import os\nreturn os.listdir('/proc/self/fd')")

_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
escape("ptrace of the parent", _LIBC + "return libc.ptrace(16, os.getppid(), 0, 0) == 0")
escape("ptrace of itself", _LIBC + "return libc.ptrace(0, 0, 0, 0) == 0")
escape(
    "reading another process's memory",
    _LIBC
    + """
buffer = ctypes.create_string_buffer(8)
class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
here = IoVec(ctypes.addressof(buffer), 8)
return libc.process_vm_readv(os.getppid(), ctypes.byref(here), 1, ctypes.byref(here), 1, 0) > 0
""",
)
escape("a shell", "import posix\nreturn posix.system('true') == 0")
escape("a shell of libc", "import ctypes\nreturn ctypes.CDLL(None).system(b'true') == 0")
escape("subprocess", "import subprocess, sys\nreturn subprocess.run([sys.executable, '-c', '1']).returncode == 0")
escape("exec", "import os\nos.execv('/bin/sh', ['sh', '-c', 'exit 0'])")
escape("fork", "import os, posix\npid = posix.fork()\nif pid == 0:\n    os._exit(0)\nreturn True")
escape(
    "vfork by number", _LIBC + "return libc.syscall(58 if os.uname().machine == 'x86_64' else 220, 17, 0, 0, 0, 0) > 0"
)
escape(
    "fork by number", _LIBC + "return libc.syscall(57 if os.uname().machine == 'x86_64' else 220, 17, 0, 0, 0, 0) > 0"
)
escape(
    "clone3 by number",
    _LIBC + "args = (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17)\nreturn libc.syscall(435, args, 88) >= 0",
)
escape(
    "clone as a sibling",
    _LIBC + "return libc.syscall(56 if os.uname().machine == 'x86_64' else 220, 0x8000 | 17, 0, 0, 0, 0) > 0",
)
escape(
    "double-forked daemon",
    "import os, posix\nif posix.fork() == 0:\n    os.setsid()\n    if posix.fork() == 0:\n        open('@FOLDER@/daemon', 'w')\n    os._exit(0)\nreturn True",
)
escape(
    "40 sleeping forks",
    "import os, posix, time\nfor _ in range(40):\n    if posix.fork() == 0:\n        time.sleep(60)\nreturn True",
)
escape(
    "multiprocessing",
    "import multiprocessing as m\np = m.get_context('fork').Process(target=print)\np.start()\nreturn True",
)
escape("user namespace", _LIBC + "return libc.unshare(0x10000000) == 0")
escape("mount namespace", _LIBC + "return libc.unshare(0x00020000) == 0")
escape("joining a namespace", _LIBC + "return libc.setns(3, 0) == 0")
escape("chroot", "import os\nos.chroot('/usr')\nreturn True")
escape("mount", _LIBC + "return libc.mount(b'none', b'/usr', b'tmpfs', 0, None) == 0")
escape("1 GB through memory files", "import os\nfd = os.memfd_create('x')\nos.truncate(fd, 1 << 30)\nreturn True")
escape("a secret memory file", _LIBC + "return libc.syscall(447, 0) >= 0")
escape(
    "a memory file by number",
    _LIBC + "return libc.syscall(319 if os.uname().machine == 'x86_64' else 279, b'x', 0) >= 0",
)
escape(
    "a 100 MB file", "import os\nos.write(1, b'x' * (100 << 20)) == 100 << 20\nreturn os.fstat(1).st_size >= 100 << 20"
)
escape("growing the output file", "import os\nos.ftruncate(1, 1 << 30)\nreturn True")
escape("reserving in the output file", "import os\nos.posix_fallocate(1, 0, 1 << 30)\nreturn True")
escape("900 descriptors", "import os\nreturn [os.dup(0) for _ in range(900)]")
escape(
    "raising its own limits",
    "import resource as r\nfor k in (r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CPU):\n    r.setrlimit(k, (r.RLIM_INFINITY,) * 2)\nreturn True",
)
escape("limits of the parent", "import resource as r, os\nr.prlimit(os.getppid(), r.RLIMIT_CPU, (1, 1))\nreturn True")
escape("priority of the parent", "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)\nreturn True")
escape("another CPU", "import os\nos.sched_setaffinity(os.getppid(), {0})\nreturn True")
escape("outliving the parent", _LIBC + "return libc.prctl(1, 0, 0, 0, 0) == 0")
escape("undoing dumpable", _LIBC + "return libc.prctl(4, 1, 0, 0, 0) == 0")
escape("becoming a subreaper", _LIBC + "return libc.prctl(36, 1, 0, 0, 0) == 0")
escape("a new session", "import os\nos.setsid()\nreturn True")
escape("another user", "import os\nos.setuid(1)\nreturn True")
escape(
    "capabilities",
    _LIBC
    + "h = (ctypes.c_uint32 * 2)(0x20080522, 0)\nd = (ctypes.c_uint32 * 6)(*[2**32 - 1] * 6)\nreturn libc.capset(h, d) == 0",
)
escape("io_uring", _LIBC + "return libc.syscall(425, 8, ctypes.create_string_buffer(120)) >= 0")
escape(
    "bpf",
    _LIBC
    + "return libc.syscall(321 if os.uname().machine == 'x86_64' else 280, 0, ctypes.create_string_buffer(120), 120) >= 0",
)
escape(
    "perf events",
    _LIBC
    + "return libc.syscall(298 if os.uname().machine == 'x86_64' else 241, ctypes.create_string_buffer(120), 0, -1, -1, 0) >= 0",
)
escape("userfaultfd", _LIBC + "return libc.syscall(323 if os.uname().machine == 'x86_64' else 282, 1) >= 0")
escape(
    "kernel keyring",
    _LIBC + "return libc.syscall(248 if os.uname().machine == 'x86_64' else 217, b'user', b'k', b'v', 1, -4) > 0",
)
escape(
    "descriptor of another process",
    _LIBC + "return libc.syscall(438, 3, 0, 0) >= 0 or libc.syscall(434, os.getppid(), 0) >= 0",
)
escape(
    "file handles",
    _LIBC
    + "return libc.syscall(303 if os.uname().machine == 'x86_64' else 264, -100, b'/', ctypes.create_string_buffer(200), ctypes.byref(ctypes.c_int()), 0) == 0",
)
escape("System V shared memory", _LIBC + "return libc.shmget(0x7211, 4096, 0o1600) >= 0")
escape("System V message queue", _LIBC + "return libc.msgget(0x7211, 0o1600) >= 0")
escape(
    "POSIX message queue",
    _LIBC + "return libc.syscall(240 if os.uname().machine == 'x86_64' else 180, b'q', 0o102, 0o600, None) >= 0",
)
escape(
    "POSIX shared memory",
    "from multiprocessing import shared_memory\nreturn shared_memory.SharedMemory(create=True, size=4096)",
)
escape("watching files", _LIBC + "return libc.inotify_init() >= 0")
escape("watching the machine's files", _LIBC + "return libc.fanotify_init(0, 0) >= 0")
escape(
    "another filter",
    _LIBC
    + "return libc.prctl(22, 2, 0, 0, 0) == 0 or libc.syscall(317 if os.uname().machine == 'x86_64' else 277, 1, 0, 0) == 0",
)
escape("typing into a terminal", "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')\nreturn True")
escape("a terminal", "import os\nreturn os.openpty()")
escape("raw disk", "import os\nreturn os.open('/dev/vda', os.O_RDONLY) or os.open('/dev/sda', os.O_RDONLY)")
escape("kernel messages", "return open('/dev/kmsg').read(1)")
escape(
    "sending a descriptor",
    "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, 3)\nsocket.send_fds(s, [b'x'], [0])\nreturn True",
)

_SHELLCODE = """
import ctypes, mmap, os
if os.uname().machine != "x86_64":
    return False
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(bytes.fromhex("{code}"))
call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
return call() >= 0
"""
# mov eax, 2 (fork in the 32-bit table); int 0x80; cdqe; ret
escape("32-bit system call", _SHELLCODE.format(code="b802000000cd804898c3"))
# mov eax, 0x40000039 (fork in the x32 table); syscall; ret
escape("x32 system call", _SHELLCODE.format(code="b8390000400f05c3"))

# --- exhausting ---------------------------------------------------------------------------------------------------

exhaust(
    "600 threads",
    "import threading, time\nts = [threading.Thread(target=time.sleep, args=(60,), daemon=True) for _ in range(600)]\n[t.start() for t in ts]\ndef solve(x):\n    return 0",
)
exhaust("3 GB", "block = bytearray(3 << 30)\ndef solve(x):\n    return x * x + 1")
exhaust("3 GB in small pieces", "def solve(x):\n    return len([bytearray(1 << 16) for _ in range(50000)])")
exhaust("a large power", "def solve(x):\n    return 10 ** 10 ** 9")
exhaust("catastrophic regex", "import re\ndef solve(x):\n    return bool(re.match(r'(a+)+$', 'a' * 40 + 'b'))")
exhaust(
    "loop that ignores signals",
    "import signal\nfor s in range(1, 65):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\ndef solve(x):\n    while True:\n        try:\n            while True:\n                pass\n        except BaseException:\n            pass",
)
exhaust("loop at import", "while True:\n    pass")
exhaust("sleeping", "import time\ndef solve(x):\n    time.sleep(100)")
exhaust(
    "cancelling timers and answering late",
    "import signal, time\nsignal.alarm(0)\nsignal.setitimer(signal.ITIMER_REAL, 0)\ndef solve(x):\n    time.sleep(5)\n    return x * x + 1",
)
exhaust("recursion limit", "import sys\nsys.setrecursionlimit(10 ** 9)\ndef solve(x):\n    return solve(x + 1)")
exhaust("segfault", "import ctypes\ndef solve(x):\n    return ctypes.string_at(0)")
exhaust("abort", "import os\ndef solve(x):\n    os.abort()")
exhaust("nested parentheses", "def solve(x):\n    return " + "(" * 3000 + "x * x + 1" + ")" * 3000)
exhaust(
    "nested blocks",
    "def solve(x):\n" + "".join(" " * (i + 1) + "if x:\n" for i in range(200)) + " " * 202 + "return 0",
)
exhaust("deep value", "def solve(x):\n    v = []\n    for _ in range(100_000):\n        v = [v]\n    return v")
exhaust("value that contains itself", "def solve(x):\n    v = []\n    v.append(v)\n    return v")
exhaust(
    "300 MB through the file",
    "print('x' * (300 << 20))\ndef solve(x):\n    return x * x + 1",
    limits=Limits(1, 1.5, 1024),
)
exhaust(
    "300 MB through the descriptor",
    "import os\nfor _ in range(300):\n    if os.write(1, b'x' * (1 << 20)) != 1 << 20:\n        raise SystemExit\ndef solve(x):\n    return x * x + 1",
)
exhaust(
    "300 MB to the error output, then silence",
    "import sys\nsys.stderr.write('x' * (30 << 20))\ndef solve(x):\n    return 0",
)
exhaust(
    "a frame of 2**32-1 bytes",
    "import os, struct\ndef solve(x):\n    os.write(3, struct.pack('<IQ', 2**32 - 1, 0))\n    while True:\n        os.write(3, b'x' * 65536)",
)
exhaust(
    "half a frame, then silence",
    "import os, time\ndef solve(x):\n    os.write(3, b'\\x10\\0\\0')\n    time.sleep(100)",
)
exhaust("flood before being asked", "import os\nwhile True:\n    os.write(3, b'\\0' * 65536)")

_RAW = """
import gc, struct
body = {body}
reply = b"t\\x03\\0\\0\\0s\\x05\\0\\0\\0value" + body + b"N"
for thing in gc.get_objects():
    if type(thing).__name__ == "Answers":
        real = type(thing).reply
        type(thing).reply = lambda self, request, state: real(self, request, state) if request[0] == "names" else reply
def solve(x):
    return 0
"""
for _name, _body in {
    "unhashable set in a reply": 'b"S\\x01\\0\\0\\0l\\0\\0\\0\\0"',
    "dict with a list for a key": 'b"d\\x01\\0\\0\\0l\\0\\0\\0\\0N"',
    "nested 100,000 deep in bytes": 'b"l\\x01\\0\\0\\0" * 100_000 + b"N"',
    "sequence of four billion": 'b"l\\xff\\xff\\xff\\xff"',
    "unknown tag": 'b"?"',
    "packed array of half a number": 'b"plq\\x05\\0\\0\\0abcde"',
    "packed array of an unknown type": 'b"plO\\x08\\0\\0\\0abcdefgh"',
    "array of objects": 'b"n\\x03\\0\\0\\0s\\x02\\0\\0\\0|Ol\\x01\\0\\0\\0i" + struct.pack("<q", 1) + b"b\\x08\\0\\0\\0abcdefgh"',
    "array of a wild shape": 'b"n\\x03\\0\\0\\0s\\x03\\0\\0\\0<i8l\\x01\\0\\0\\0i" + struct.pack("<q", -7) + b"b\\x08\\0\\0\\0abcdefgh"',
    "fraction over zero": 'b"R\\x02\\0\\0\\0i" + struct.pack("<q", 1) + b"i" + struct.pack("<q", 0)',
    "range with step zero": 'b"r\\x03\\0\\0\\0" + 3 * (b"i" + struct.pack("<q", 0))',
    "text that is no text": 'b"s\\x01\\0\\0\\0\\xff"',
    "malformed date": 'b"1\\x03\\0\\0\\0abc"',
    "malformed decimal": 'b"D\\x03\\0\\0\\0abc"',
    "deque of a wrong size": 'b"q\\x02\\0\\0\\0s\\x01\\0\\0\\0xl\\0\\0\\0\\0"',
    "deque without content": 'b"q\\0\\0\\0\\0"',
    "function with an unknown number": 'b"h\\xff\\xff\\xff\\xff"',
    "pair that is no pair": 'b"m\\x01\\0\\0\\0i" + struct.pack("<q", 1)',
    "bytes after the value": 'b"N" * 50',
}.items():
    exhaust(_name, _RAW.format(body=_body))

exhaust(
    "set of colliding numbers",
    "def solve(x):\n    return [0] + [i * (2 ** 61 - 1) for i in range(1, 300_000)] and set(map(float, range(9))) and {i * (2**61 - 1) for i in range(20_000)}",
)
exhaust(
    "colliding numbers for the judge to hash",
    _RAW.format(
        body='b"S" + struct.pack("<I", 200_000) + b"".join(b"I\\x10\\0\\0\\0" + (i * (2**61 - 1)).to_bytes(16, "little") for i in range(200_000))'
    ),
)
exhaust(
    "more than the judge can hold",
    _RAW.format(body='b"l" + struct.pack("<I", 7) + (b"plq" + struct.pack("<I", 8 << 20) + bytes(8 << 20)) * 7'),
)
exhaust(
    "names that the judge cannot hold",
    """
    import gc
    for thing in gc.get_objects():
        if type(thing).__name__ == "Answers":
            type(thing).reply = lambda self, request, state: b"l\\x00\\x00\\x00\\x03" + b"N" * (60 << 20)
    def solve(x):
        return 0
    """,
)
exhaust("number of sixty million bits", "def solve(x):\n    return 1 << 60_000_000", SOLVE_CALLS, SOLVE_CHECK)
exhaust(
    "number that is costly to raise to a power",
    "def root(x):\n    return (1 << 4_000_000) - 1",
    AssertTests("assert root(16) ** 500 == 16", entry_point="root"),
)
exhaust("endless generator", "def solve(x):\n    while True:\n        yield x")
exhaust(
    "endless generator that sleeps",
    "import time\ndef solve(x):\n    while True:\n        time.sleep(0.1)\n        yield x",
)
exhaust("a million names", "globals().update({f'n{i}': i for i in range(300_000)})\ndef solve(x):\n    return 0")
exhaust(
    "functions without end",
    "def solve(x):\n    return solve",
    AssertTests("f = solve(3)\nfor _ in range(10**9):\n    f = f(3)\nassert f == 10", entry_point="solve"),
)
exhaust(
    "finalizers that loop",
    "class D:\n    def __del__(self):\n        while True: pass\ndef solve(x):\n    D()\n    return x * x + 1",
)
exhaust(
    "many threads that compute",
    "import threading\ndef spin():\n    while True: pass\n[threading.Thread(target=spin, daemon=True).start() for _ in range(8)]\ndef solve(x):\n    spin()",
)
exhaust("stdio: endless output", "while True:\n    print('x' * 1000)", SOLVE_STDIO)
exhaust("stdio: endless loop", "while True:\n    pass", SOLVE_STDIO)
exhaust("stdio: sleeping", "import time\ntime.sleep(100)", SOLVE_STDIO)
exhaust(
    "stdio: thread that never ends",
    "import threading, time\nprint(int(input()) ** 2 + 1)\nthreading.Thread(target=time.sleep, args=(100,)).start()",
    SOLVE_STDIO,
)
exhaust("stdio: nested parentheses", "print(" + "(" * 3000 + "1" + ")" * 3000 + ")", SOLVE_STDIO)
exhaust("stdio: 3 GB", "x = bytearray(3 << 30)\nprint(int(input()) ** 2 + 1)", SOLVE_STDIO)


# --- running them -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bait:
    """What the escapes try to reach."""

    folder: str
    values: dict[str, str]

    def fill(self, source: str) -> str:
        for name, value in self.values.items():
            source = source.replace(f"@{name}@", value)
        return source

    def untouched(self) -> bool:
        """Whether the secret file is unchanged, and alone in its folder."""
        path = os.path.join(self.folder, "secret")
        with open(path) as file:
            same = file.read() == "a secret"
        return same and os.listdir(self.folder) == ["secret"] and os.stat(path).st_mode & 0o777 == 0o644


@contextlib.contextmanager
def bait() -> Iterator[Bait]:
    """Prepare secrets, a port and an abstract socket, for the duration of the block."""
    os.environ[SECRET] = "a secret"
    abstract = f"trl-gift-{os.getpid()}"
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        unix.bind("\0" + abstract)
        unix.listen()
        secret = os.path.join(folder, "secret")
        with open(secret, "w") as file:
            file.write("a secret")
        os.chmod(secret, 0o644)
        os.chmod(folder, 0o755)
        yield Bait(
            folder,
            {
                "FOLDER": folder,
                "SECRET_FILE": secret,
                "HOME": pwd.getpwuid(os.getuid()).pw_dir,
                "PORT": str(server.getsockname()[1]),
                "ABSTRACT": abstract,
                "TRAINER": str(os.getpid()),
            },
        )
    del os.environ[SECRET]


def run_attack(sandbox: LocalSandbox, attack: Attack, prepared: Bait) -> list[Outcome]:
    """The outcomes of one attack against each of its tests, and last that of an honest program in the same slot."""
    source = prepared.fill(attack.source)
    outcomes = [sandbox.run(source, tests, limits=attack.limits) for tests in attack.tests]
    stdio = isinstance(attack.tests[0], StdioTests)
    outcomes.append(sandbox.run(HONEST_STDIO if stdio else HONEST, SOLVE_STDIO if stdio else SOLVE_CALLS))
    return outcomes


def main() -> int:
    """Run every attack in one slot and print its outcome; the exit status is 0 if every attack was held."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--family", choices=["forge", "escape", "exhaust"], help="only these")
    parser.add_argument("--deny", nargs="*", default=[], help="layers to take away: landlock, namespaces, seccomp")
    parser.add_argument("--quiet", action="store_true", help="print only the attacks that succeeded, and the count")
    options = parser.parse_args()
    for layer in options.deny:
        deny(layer)
    attacks = [attack for attack in ATTACKS if options.family in (None, attack.family)]
    broken = []
    with bait() as prepared, LocalSandbox(num_workers=1) as sandbox:
        for attack in attacks:
            *outcomes, honest = run_attack(sandbox, attack, prepared)
            held = not any(outcome.passed for outcome in outcomes) and honest.passed and prepared.untouched()
            if not held:
                broken.append(attack.name)
            told = outcomes[0].stdout_tail.splitlines()[-1:] if attack.family == "escape" else []
            message = (told or [outcomes[0].message.replace("\n", " ")])[0][:90]
            if not held or not options.quiet:
                print(
                    f"{'held' if held else 'BROKEN':7}{attack.family:8} {attack.name:48} {outcomes[0].status:14} {message}"
                )
        isolation = sandbox.isolation
    print(f"{len(attacks)} attacks under {isolation}: {len(broken)} broken {broken or ''}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
