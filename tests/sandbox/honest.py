"""Small honest programs, as data: each must get the verdict that plain CPython gives it.

`STDIO` programs read standard input and print. `ASSERTED` programs are tested by statements, which also run in the
program's own interpreter. `CALLED` programs are tested by calls, whose cases are written as Python text.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Honest:
    """One program.

    Attributes:
        name: What it does.
        source: The program.
        stdin: Its standard input.
        tests: Assertions, for programs that are not run over standard input.
        cases: `(arguments, expected)` pairs as Python text, for calls of `f`.
        needs: A module that must be installed.
    """

    name: str
    source: str
    stdin: str = ""
    tests: str = ""
    cases: str = ""
    needs: str = ""


HONEST: list[Honest] = []


def prints(name: str, source: str, stdin: str = "") -> None:
    """A program over standard input and output; what it must print is what it prints in plain CPython."""
    HONEST.append(Honest(name, textwrap.dedent(source), stdin))


def asserted(name: str, source: str, tests: str, needs: str = "") -> None:
    """A program tested by statements."""
    HONEST.append(Honest(name, textwrap.dedent(source), tests=textwrap.dedent(tests), needs=needs))


def called(name: str, source: str, cases: str, needs: str = "") -> None:
    """A program whose function `f` is called."""
    HONEST.append(Honest(name, textwrap.dedent(source), cases=cases, needs=needs))


# --- everything that is printed is seen ---------------------------------------------------------------------------

prints("print", "print(int(input()) * 2)", "21\n")
prints(
    "a StringIO as stdout, written at exit",
    """
    import atexit, io, sys
    buffer = io.StringIO()
    sys.stdout = buffer
    @atexit.register
    def write():
        sys.__stdout__.write(buffer.getvalue())
    print(1)
    """,
)
prints(
    "a BytesIO as stdout, written at exit",
    """
    import atexit, io, os, sys
    sys.stdout = io.BytesIO()
    write = lambda text: sys.stdout.write(text.encode())
    atexit.register(lambda: os.write(1, sys.stdout.getvalue()))
    write("bytes")
    """,
)
prints("open(1, 'w') never closed", "f = open(1, 'w')\nf.write('1\\n')")
prints("open(1, 'w') in a function's local", "def main():\n    f = open(1, 'w')\n    f.write('1\\n')\nmain()")
prints("os.fdopen(1, 'w') never closed", "import os\nout = os.fdopen(1, 'w')\nout.write('2\\n')")
prints("os.fdopen(1, 'wb') in a list", "import os\nkept = [os.fdopen(1, 'wb')]\nkept[0].write(b'2\\n')")
prints("open(1, 'w', closefd=False)", "import builtins\nout = open(1, 'w', closefd=False)\nprint('x', file=out)")
prints("a second writer, flushed", "out = open(1, 'w', closefd=False)\nout.write('a\\n')\nout.flush()\nprint('b')")
prints("a writer on a duplicate of 1", "import os\nout = os.fdopen(os.dup(1), 'w')\nout.write('dup\\n')")
prints(
    "a writer kept in a cycle", "class A: pass\na = A()\na.me = a\na.out = open(1, 'w')\na.out.write('cycle')\ndel a"
)
prints("os.write and print", "import os, sys\nprint('a', flush=True)\nos.write(1, b'b\\n')\nprint('c')")
prints("atexit prints", "import atexit\natexit.register(print, 'bye')\nprint('hello')")
prints("atexit in atexit", "import atexit\natexit.register(lambda: atexit.register(print, 'inner'))")
prints("atexit raises", "import atexit\natexit.register(lambda: 1 / 0)\nprint('printed')")
prints("output before stdout is replaced", "import io, sys\nprint('kept')\nsys.stdout = io.StringIO()\nprint('lost')")
prints(
    "redirect_stdout",
    "import contextlib, io\ns = io.StringIO()\nwith contextlib.redirect_stdout(s):\n    print(5)\nprint(s.getvalue())",
)
prints(
    "an own TextIOWrapper",
    "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, newline='\\n')\nprint('wrapped')",
)
prints("reconfigured stdout", "import sys\nsys.stdout.reconfigure(line_buffering=True)\nprint('é')")
prints(
    "stdout as an object without closed",
    """
    import sys
    class Out:
        def write(self, text):
            sys.__stdout__.write(text.upper())
        def flush(self):
            pass
    sys.stdout = Out()
    print("abc")
    """,
)
prints(
    "stdout as an object without flush",
    """
    import sys
    class Out:
        def write(self, text):
            sys.__stdout__.write(text)
    sys.stdout = Out()
    print("abc")
    """,
)
prints(
    "the fast input and output of contests",
    """
    import os, sys
    from io import BytesIO, IOBase
    class FastIO(IOBase):
        newlines = 0
        def __init__(self, file):
            self._fd = file.fileno()
            self.buffer = BytesIO()
            self.writable = "x" in file.mode or "r" not in file.mode
            self.write = self.buffer.write if self.writable else None
        def readline(self):
            while self.newlines == 0:
                b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))
                self.newlines = b.count(b"\\n") + (not b)
                ptr = self.buffer.tell()
                self.buffer.seek(0, 2), self.buffer.write(b), self.buffer.seek(ptr)
            self.newlines -= 1
            return self.buffer.readline()
        def flush(self):
            if self.writable:
                os.write(self._fd, self.buffer.getvalue())
                self.buffer.truncate(0), self.buffer.seek(0)
    class IOWrapper(IOBase):
        def __init__(self, file):
            self.buffer = FastIO(file)
            self.flush = self.buffer.flush
            self.writable = self.buffer.writable
            self.write = lambda s: self.buffer.write(s.encode("ascii"))
            self.readline = lambda: self.buffer.readline().decode("ascii")
    sys.stdin, sys.stdout = IOWrapper(sys.stdin), IOWrapper(sys.stdout)
    input = lambda: sys.stdin.readline().rstrip()
    print(sum(map(int, input().split())))
    """,
    "1 2 3\n",
)
prints("stdout closed by the program", "import sys\nprint('closed')\nsys.stdout.close()")
prints("stdout is None", "import sys\nprint('before')\nsys.stdout = None\nprint('nothing')")
prints("stdout deleted", "import sys\nprint('before')\ndel sys.stdout")
prints("sys.exit after print", "import sys\nprint('out')\nsys.exit()")
prints("sys.exit with a message", "import sys\nprint('out')\nsys.exit('no')")
prints("sys.exit(3)", "import sys\nprint('out')\nsys.exit(3)")
prints("exit()", "print('out')\nexit()\nprint('never')")
prints("raise SystemExit(False)", "print('out')\nraise SystemExit(False)")
prints("os._exit drops what is buffered", "import os\nprint('lost')\nos._exit(0)")
prints("an exception after print", "print('out')\n1 / 0")
prints(
    "an exception in a thread",
    "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\nprint('ok')",
)
prints(
    "a thread prints last",
    "import threading, time\ndef late():\n    time.sleep(0.02)\n    print('late')\nthreading.Thread(target=late).start()\nprint('first')",
)
prints(
    "a daemon thread",
    "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nprint('ok')",
)
prints("an object's __del__ prints", "class A:\n    def __del__(self):\n        print('gone')\na = A()")
prints(
    "a local object's __del__ prints",
    "class A:\n    def __del__(self):\n        print('gone')\ndef f():\n    a = A()\nf()\nprint('end')",
)
prints(
    "a generator's finally prints",
    "def g():\n    try:\n        yield 1\n    finally:\n        print('cleaned')\nit = g()\nnext(it)",
)
prints("weakref.finalize prints", "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')")
prints("output to stderr", "import sys\nprint('err', file=sys.stderr)\nprint('out')")
prints("a megabyte", "print('x' * 1_000_000)")

# --- what is read ---------------------------------------------------------------------------------------------------

prints("/dev/stdin", "print(open('/dev/stdin').read().upper())", "abc\n")
prints("/dev/stdin twice a line", "f = open('/dev/stdin')\nprint(f.readline(), [line for line in f])", "a\nb\n")
prints("/dev/stdout", "with open('/dev/stdout', 'w') as f:\n    f.write('out')")
prints("pathlib reads /dev/stdin", "import pathlib\nprint(pathlib.Path('/dev/stdin').read_text())", "abc\n")
prints("/proc/self/fd/0", "print(open('/proc/self/fd/0').read())", "abc\n")
prints("open(0)", "print(sum(map(int, open(0).read().split())))", "1 2 3\n")
prints("sys.stdin.buffer", "import sys\nprint(sys.stdin.buffer.read())", "abc\n")
prints("os.read", "import os\nprint(os.read(0, 100))", "abc\n")
prints("fileinput", "import fileinput\nprint([line for line in fileinput.input()])", "a\nb\n")
prints("input until EOFError", "try:\n    while True:\n        print(input())\nexcept EOFError:\n    pass", "a\nb")
prints("input with a prompt", "n = input('n? ')\nprint(n)", "3\n")
prints("a replaced stdin", "import io, sys\nsys.stdin = io.StringIO('7\\n')\nprint(input())")
prints("stdin as an iterator", "import sys\nprint(sum(int(line) for line in sys.stdin))", "1\n2\n")
prints("mixed line ends", "import sys\nprint(repr(sys.stdin.read()))", "a\r\nb\r\n")

# --- files ----------------------------------------------------------------------------------------------------------

prints("listdir of an empty folder", "import os\nprint(os.listdir('.'))")
prints("__file__", "import os\nprint(os.path.basename(os.path.dirname(os.path.abspath(__file__))) != '')")
prints(
    "a file in the working folder", "with open('a.txt', 'w') as f:\n    f.write('text')\nprint(open('a.txt').read())"
)
prints("a missing file", "try:\n    open('input.txt')\nexcept FileNotFoundError:\n    print('absent')")
prints("os.path.exists", "import os\nprint(os.path.exists('input.txt'), os.path.isdir('.'))")
prints(
    "TemporaryFile",
    "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write('t')\n    f.seek(0)\n    print(f.read())",
)
prints(
    "NamedTemporaryFile",
    "import tempfile\nwith tempfile.NamedTemporaryFile('w+') as f:\n    f.write('t')\n    f.flush()\n    print(open(f.name).read())",
)
prints(
    "TemporaryDirectory",
    "import os, tempfile\nwith tempfile.TemporaryDirectory() as d:\n    open(os.path.join(d, 'x'), 'w').close()\n    print(os.listdir(d))\nprint(os.path.exists(d))",
)
prints(
    "SpooledTemporaryFile",
    "import tempfile\nf = tempfile.SpooledTemporaryFile(max_size=4, mode='w+')\nf.write('more than four')\nf.seek(0)\nprint(f.read())",
)
prints(
    "mkdir, rename, remove",
    "import os\nos.mkdir('d')\nopen('d/a', 'w').close()\nos.rename('d/a', 'd/b')\nprint(os.listdir('d'))\nos.remove('d/b')\nos.rmdir('d')\nprint(os.listdir('.'))",
)
prints("shutil.rmtree", "import os, shutil\nos.makedirs('a/b/c')\nshutil.rmtree('a')\nprint(os.listdir('.'))")
prints("truncate", "with open('t', 'w+') as f:\n    f.write('abcdef')\n    f.truncate(3)\nprint(open('t').read())")
prints(
    "pathlib writes",
    "from pathlib import Path\nPath('p.txt').write_text('p')\nprint(sorted(x.name for x in Path('.').iterdir()))",
)
prints(
    "csv in a file",
    "import csv\nwith open('a.csv', 'w', newline='') as f:\n    csv.writer(f).writerow([1, 'b'])\nprint(list(csv.reader(open('a.csv'))))",
)
prints(
    "pickle and shelve of own classes",
    "import pickle\nclass A:\n    def __init__(self): self.x = 3\nprint(pickle.loads(pickle.dumps(A())).x)",
)
prints(
    "sqlite3 in memory", "import sqlite3\nc = sqlite3.connect(':memory:')\nprint(c.execute('select 1 + 1').fetchone())"
)

# --- concurrency ------------------------------------------------------------------------------------------------------

prints(
    "asyncio.run",
    "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return 5\nprint(asyncio.run(main()))",
)
prints(
    "asyncio.gather",
    "import asyncio\nasync def f(x):\n    await asyncio.sleep(0.001 * x)\n    return x\nasync def main():\n    print(await asyncio.gather(f(2), f(1)))\nasyncio.run(main())",
)
prints("asyncio.to_thread", "import asyncio\nprint(asyncio.run(asyncio.to_thread(sum, [1, 2])))")
prints(
    "asyncio.Queue and wait_for",
    "import asyncio\nasync def main():\n    q = asyncio.Queue()\n    try:\n        await asyncio.wait_for(q.get(), 0.01)\n    except asyncio.TimeoutError:\n        print('timeout')\nasyncio.run(main())",
)
prints(
    "get_event_loop().run_until_complete",
    "import asyncio\nasync def f():\n    return 3\nloop = asyncio.new_event_loop()\nprint(loop.run_until_complete(f()))\nloop.close()",
)
prints(
    "ThreadPool",
    "from multiprocessing.pool import ThreadPool\nwith ThreadPool(2) as p:\n    print(p.map(lambda x: x * x, range(5)))",
)
prints(
    "multiprocessing.dummy",
    "from multiprocessing.dummy import Pool\np = Pool(2)\nprint(p.map(str, range(3)))\np.close()\np.join()",
)
prints(
    "ThreadPoolExecutor",
    "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(3) as p:\n    print(list(p.map(abs, [-1, -2])))",
)
prints(
    "a thread with a large stack",
    "import sys, threading\nsys.setrecursionlimit(1 << 20)\nthreading.stack_size(1 << 27)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\ndef main():\n    print(f(50_000))\nt = threading.Thread(target=main)\nt.start()\nt.join()",
)
prints(
    "twenty threads",
    "import threading\ntotal = []\nts = [threading.Thread(target=total.append, args=(i,)) for i in range(20)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nprint(sorted(total))",
)
prints("threading.Timer", "import threading\nt = threading.Timer(0.01, print, ['tick'])\nt.start()\nt.join()")
prints(
    "queue and locks",
    "import queue, threading\nq = queue.Queue()\nwith threading.Lock():\n    threading.Thread(target=q.put, args=(3,)).start()\nprint(q.get())",
)
prints(
    "signal.alarm",
    "import signal\ndef on(*a):\n    raise TimeoutError\nsignal.signal(signal.SIGALRM, on)\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntry:\n    while True: pass\nexcept TimeoutError:\n    print('rang')",
)
prints("a socketpair", "import socket\na, b = socket.socketpair()\na.sendall(b'x')\nprint(b.recv(1))")
prints(
    "selectors over a pipe",
    "import os, selectors\nr, w = os.pipe()\ns = selectors.DefaultSelector()\ns.register(r, selectors.EVENT_READ)\nos.write(w, b'1')\nprint(len(s.select(1)))",
)

# --- recursion and large numbers ------------------------------------------------------------------------------------

prints("recursion to the usual limit", "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(990))")
prints(
    "RecursionError is caught", "def f():\n    return f()\ntry:\n    f()\nexcept RecursionError:\n    print('deep')"
)
prints(
    "recursion to 100,000",
    "import sys\nsys.setrecursionlimit(1 << 20)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(100_000))",
)
_LRU = "import functools, sys\nsys.setrecursionlimit(1 << 20)\n@functools.lru_cache(None)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\n"
_DEEP = 20_000
prints("recursion through lru_cache", f"{_LRU}print(f({_DEEP}))")
asserted("recursion through lru_cache, called", _LRU, f"assert f({_DEEP}) == {_DEEP}")
asserted(
    "recursion to the usual limit, called",
    "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)",
    "assert f(980) == 980",
)
prints(
    "recursion through sorted and a key",
    "import sys\nsys.setrecursionlimit(1 << 20)\ndef f(n):\n    return n and sorted([n], key=lambda x: f(x - 1))[0]\nprint(f(5_000))",
)
prints(
    "the stack limit is raised",
    "import resource\nhard = resource.getrlimit(resource.RLIMIT_STACK)[1]\nresource.setrlimit(resource.RLIMIT_STACK, (hard, hard))\nprint('raised')",
)
prints(
    "print 2 ** 40000",
    "import sys\nif hasattr(sys, 'set_int_max_str_digits'):\n    sys.set_int_max_str_digits(0)\nprint(2 ** 40000)",
)
prints(
    "read a number of 6,000 digits",
    "import sys\nsys.set_int_max_str_digits(0)\nprint(int(input()) + 1)",
    "9" * 6000 + "\n",
)
called("a number of 6,000 digits", "def f(n):\n    return 10 ** n", "[((6000,), 10 ** 6000)]")

# --- iterators --------------------------------------------------------------------------------------------------------

_COUNT = "def f(start=0):\n    while True:\n        yield start\n        start += 1\n"
asserted("an infinite generator", _COUNT, "from itertools import islice\nassert list(islice(f(3), 4)) == [3, 4, 5, 6]")
asserted("next of an infinite generator", _COUNT, "g = f()\nassert [next(g) for _ in range(100)] == list(range(100))")
asserted(
    "many items of an infinite generator",
    _COUNT,
    "import itertools\nassert sum(itertools.islice(f(), 20_000)) == 199_990_000",
)
asserted(
    "itertools.count",
    "import itertools\ndef f():\n    return itertools.count(5)",
    "assert next(f()) == 5\nassert [x for x, _ in zip(f(), range(50))][-1] == 54",
)
asserted(
    "g.send",
    "def f():\n    total = 0\n    while True:\n        total += (yield total) or 0",
    "g = f()\nassert next(g) == 0\nassert g.send(5) == 5\nassert g.send(2) == 7",
)
asserted(
    "g.close and StopIteration",
    "def f():\n    yield 1\n    yield 2",
    "g = f()\nassert next(g) == 1\ng.close()\nassert next(g, None) is None",
)
asserted(
    "g.throw",
    "def f():\n    try:\n        yield 1\n    except ValueError:\n        yield 2",
    "g = f()\nnext(g)\nassert g.throw(ValueError('x')) == 2",
)
asserted(
    "the value of a generator",
    "def f():\n    yield 1\n    return 'end'",
    "g = f()\nnext(g)\ntry:\n    next(g)\nexcept StopIteration as end:\n    assert end.value == 'end'\nelse:\n    raise AssertionError",
)
asserted(
    "a generator that raises",
    "def f():\n    yield 1\n    raise KeyError('k')",
    "g = f()\nassert next(g) == 1\ntry:\n    next(g)\nexcept KeyError as error:\n    assert error.args == ('k',)\nelse:\n    raise AssertionError",
)
asserted(
    "two generators of one state",
    "items = []\ndef f():\n    for i in range(3):\n        items.append(i)\n        yield i\ndef seen():\n    return list(items)",
    "g = f()\nassert seen() == []\nnext(g)\nassert seen() == [0]\nassert list(g) == [1, 2]\nassert seen() == [0, 1, 2]",
)
asserted(
    "an iterator is not a list",
    "def f():\n    return iter([1])",
    "assert not f() == [1]\nassert list(f()) == [1]\nassert iter(g := f()) is g",
)
asserted(
    "map, zip, reversed",
    "def f(x):\n    return map(str, x), zip(x, x), reversed(x)",
    "m, z, r = f([1, 2])\nassert list(m) == ['1', '2']\nassert dict(z) == {1: 1, 2: 2}\nassert list(r) == [2, 1]",
)
asserted(
    "an own iterator class",
    "class f:\n    def __init__(self, n):\n        self.n = n\n    def __iter__(self):\n        return self\n    def __next__(self):\n        if not self.n:\n            raise StopIteration\n        self.n -= 1\n        return self.n",
    "assert list(f(3)) == [2, 1, 0]",
)
called(
    "iterators as arguments",
    "def f(xs):\n    return sum(xs)",
    "[((iter([1, 2]),), 3), ((range(4),), 6), ((map(int, '12'),), 3)]",
)
asserted(
    "a generator as argument",
    "def f(xs):\n    return next(xs), list(xs)",
    "assert f(x * x for x in range(4)) == (0, [1, 4, 9])",
)
asserted(
    "StringIO as argument",
    "def f(file):\n    return [line.strip() for line in file]",
    "import io\nassert f(io.StringIO('a\\nb\\n')) == ['a', 'b']",
)
asserted(
    "StringIO from its position",
    "def f(file):\n    return file.read()",
    "import io\ns = io.StringIO('abc')\ns.read(1)\nassert f(s) == 'bc'",
)
asserted(
    "BytesIO as argument", "def f(file):\n    return file.read()", "import io\nassert f(io.BytesIO(b'ab')) == b'ab'"
)
asserted(
    "StringIO as result",
    "import io\ndef f():\n    return io.StringIO('a\\nb')",
    "assert f().getvalue() == 'a\\nb'\nassert f().readlines() == ['a\\n', 'b']",
)
asserted(
    "print to a StringIO",
    "import io\ndef f(x):\n    s = io.StringIO()\n    print(x, file=s)\n    return s.getvalue()",
    "assert f(3) == '3\\n'",
)

# --- types of the standard library ------------------------------------------------------------------------------------

asserted(
    "UUID",
    "import uuid\ndef f(n):\n    return uuid.UUID(int=n)",
    "import uuid\nassert f(5) == uuid.UUID(int=5)\nassert f(5).hex.endswith('5')",
)
asserted(
    "uuid5 and uuid4",
    "import uuid\ndef f(s):\n    return uuid.uuid5(uuid.NAMESPACE_DNS, s)\ndef g():\n    return uuid.uuid4()",
    "assert str(f('a.org')).count('-') == 4\nassert g() != g()",
)
called("UUID as argument", "def f(u):\n    return u.int", "[((uuid.UUID(int=7),), 7)]")
asserted(
    "Path",
    "from pathlib import Path\ndef f(s):\n    return Path(s).parent",
    "from pathlib import Path\nassert f('a/b') == Path('a')\nassert str(f('a/b/c')) == 'a/b'\nassert f('a/b/c').name == 'b'",
)
asserted(
    "PurePosixPath",
    "from pathlib import PurePosixPath\ndef f(s):\n    return PurePosixPath(s).with_suffix('.py')",
    "from pathlib import PurePosixPath\nassert f('a.txt') == PurePosixPath('a.py')",
)
asserted(
    "array",
    "from array import array\ndef f(xs):\n    return array('i', xs)",
    "from array import array\nassert f([1, 2]) == array('i', [1, 2])\nassert f([1]).typecode == 'i'\nassert f([1, 2]) != [1, 2]\nassert list(f([3])) == [3]",
)
called(
    "array as argument", "def f(a):\n    a.append(5)\n    return a", "[((array('d', [1.5]),), array('d', [1.5, 5.0]))]"
)
asserted(
    "timezone",
    "from datetime import timedelta, timezone\ndef f(h):\n    return timezone(timedelta(hours=h))",
    "from datetime import timedelta, timezone\nassert f(2) == timezone(timedelta(hours=2))\nassert f(0) == timezone.utc\nassert str(f(2)) == 'UTC+02:00'",
)
asserted(
    "a datetime with a timezone",
    "from datetime import datetime, timezone\ndef f():\n    return datetime(2020, 1, 2, tzinfo=timezone.utc)",
    "from datetime import datetime, timezone\nassert f() == datetime(2020, 1, 2, tzinfo=timezone.utc)\nassert f().tzinfo is not None and f().tzinfo.utcoffset(None).total_seconds() == 0\nassert f().tzname() == 'UTC'",
)
asserted(
    "a datetime in a zone",
    "from datetime import datetime\nfrom zoneinfo import ZoneInfo\ndef f():\n    return datetime(2020, 1, 2, tzinfo=ZoneInfo('Europe/Paris'))",
    "from datetime import datetime\nfrom zoneinfo import ZoneInfo\nassert f() == datetime(2020, 1, 2, tzinfo=ZoneInfo('Europe/Paris'))\nassert f().tzname() == 'CET'\nassert str(f().tzinfo) == 'Europe/Paris'",
)
asserted(
    "datetime, date, time, timedelta",
    "import datetime as d\ndef f():\n    return [d.datetime(2020, 1, 2, 3), d.date(2020, 1, 2), d.time(3, 4, 5, 6), d.timedelta(1, 2, 3)]",
    "import datetime as d\nassert f() == [d.datetime(2020, 1, 2, 3), d.date(2020, 1, 2), d.time(3, 4, 5, 6), d.timedelta(1, 2, 3)]\nassert f()[0].strftime('%Y') == '2020'",
)
asserted(
    "Counter with its methods",
    "from collections import Counter\ndef f(s):\n    return Counter(s)",
    "from collections import Counter\nassert f('aab').most_common(1) == [('a', 2)]\nassert f('aab')['z'] == 0\nassert f('aab') == {'a': 2, 'b': 1}\nassert f('aab') - Counter('a') == Counter('ab')",
)
called(
    "Counter that holds a zero",
    "from collections import Counter\ndef f(s):\n    c = Counter(s)\n    c['z'] = 0\n    return c",
    "[(('ab',), Counter('ab'))]",
)
called("a dict that holds a zero", "def f(s):\n    return {'a': 1, 'z': 0}", "[(('a',), {'a': 1})]")
asserted(
    "OrderedDict",
    "from collections import OrderedDict\ndef f(*keys):\n    return OrderedDict.fromkeys(keys)",
    "from collections import OrderedDict\nassert f('a', 'b') == {'b': None, 'a': None}\nassert f('a', 'b') != OrderedDict.fromkeys('ba')\nd = f('a', 'b')\nd.move_to_end('a')\nassert list(d) == ['b', 'a']",
)
called(
    "OrderedDict in another order",
    "from collections import OrderedDict\ndef f(*keys):\n    return OrderedDict.fromkeys(keys)",
    "[(('b', 'a'), OrderedDict.fromkeys('ab'))]",
)
asserted(
    "defaultdict",
    "from collections import defaultdict\ndef f(words):\n    d = defaultdict(list)\n    for w in words:\n        d[w[0]].append(w)\n    return d",
    "assert f(['ab', 'ac']) == {'a': ['ab', 'ac']}\nassert f([])['missing'] == []",
)
asserted(
    "deque",
    "from collections import deque\ndef f(n):\n    return deque(range(n), maxlen=3)",
    "from collections import deque\nassert f(5) == deque([2, 3, 4])\nassert f(5).maxlen == 3\nassert f(2).popleft() == 0",
)
_POINT = (
    "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\ndef f(x, y):\n    return Point(x, y)\n"
)
asserted(
    "namedtuple with its fields",
    _POINT,
    "p = f(1, 2)\nassert p.x == 1 and p.y == 2\nassert p == (1, 2)\nassert p._asdict() == {'x': 1, 'y': 2}\nassert repr(p) == 'Point(x=1, y=2)'\nassert f(1, 2) == Point(1, 2)\nx, y = p\nassert p._replace(x=5) == (5, 2)",
)
called("namedtuple equals a tuple", _POINT, "[((1, 2), (1, 2))]")
called("namedtuple is not a list", _POINT, "[((1, 2), [1, 2])]")
asserted(
    "NamedTuple with defaults",
    "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int = 3\ndef f(x):\n    return [P(x)]",
    "assert f(1) == [(1, 3)]\nassert f(1)[0].y == 3",
)
_DATA = "from dataclasses import dataclass, field\n@dataclass{}\nclass P:\n    x: int\n    tags: list = field(default_factory=list)\ndef f(x):\n    return P(x, ['a'])\n"
asserted(
    "dataclass",
    _DATA.format(""),
    "assert f(1).x == 1\nassert f(1).tags == ['a']\nassert f(1) == P(1, ['a'])\nassert f(1) != P(2)\nassert repr(f(1)) == \"P(x=1, tags=['a'])\"",
)
asserted(
    "dataclass, asdict",
    _DATA.format(""),
    "import dataclasses\nassert dataclasses.asdict(f(1)) == {'x': 1, 'tags': ['a']}",
)
asserted(
    "dataclass with an order",
    _DATA.format("(order=True)"),
    "assert f(1) < f(2)\nassert sorted([f(3), f(2)])[0].x == 2",
)
asserted(
    "dataclass, frozen",
    "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    x: int\ndef f(x):\n    return {P(x): 1}",
    "assert f(1) == {P(1): 1}\nassert f(1)[P(1)] == 1",
)
asserted(
    "dataclass, nested and inherited",
    "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n@dataclass\nclass B(A):\n    a: A\ndef f():\n    return B(1, A(2))",
    "assert f().a.x == 2\nassert f() == B(1, A(2))\nassert f() != A(1)",
)
asserted("dataclass is not a tuple", _DATA.format(""), "assert f(1) != (1, ['a'])")
_COLOR = "from enum import {0}\nclass Color({0}):\n    RED = 1\n    BLUE = 2\ndef f(x):\n    return Color(x)\n"
asserted(
    "enum",
    _COLOR.format("Enum"),
    "assert f(1) == Color.RED\nassert f(2) is Color.BLUE\nassert f(1).name == 'RED' and f(1).value == 1\nassert f(1) != 1\nassert str(f(1)) == 'Color.RED'\nassert len(Color) == 2\nassert Color['RED'] is f(1)",
)
asserted(
    "IntEnum",
    _COLOR.format("IntEnum"),
    "assert f(1) == 1\nassert f(2) == Color.BLUE\nassert f(2) + 1 == 3\nassert f(1).name == 'RED'",
)
asserted("enum as key", _COLOR.format("Enum"), "assert {f(1): 'a'} == {Color.RED: 'a'}\nassert [f(1)] == [Color.RED]")
asserted(
    "enum from auto and str",
    "from enum import Enum, auto\nclass E(str, Enum):\n    A = 'a'\nclass N(Enum):\n    X = auto()\ndef f():\n    return [E.A, N.X]",
    "assert f()[0] == 'a'\nassert f()[1].value == 1\nassert f()[0].upper() == 'A'",
)
asserted(
    "Flag",
    "from enum import Flag\nclass P(Flag):\n    R = 4\n    W = 2\ndef f():\n    return P.R | P.W",
    "assert f().value == 6\nassert P.R in f()\nassert f() == P.R | P.W",
)
asserted(
    "an enum passed back",
    _COLOR.format("Enum") + "def name(c):\n    return c.name\n",
    "assert name(Color.BLUE) == 'BLUE'\nassert name(f(1)) == 'RED'",
)
asserted(
    "a dataclass passed back",
    _DATA.format("") + "def x(p):\n    return p.x\n",
    "assert x(f(4)) == 4\nassert x(P(5)) == 5",
)
asserted(
    "a namedtuple passed back",
    _POINT + "def x(p):\n    return p.x\n",
    "assert x(f(4, 5)) == 4\nassert x(Point(6, 7)) == 6",
)
asserted(
    "Fraction and Decimal",
    "from decimal import Decimal\nfrom fractions import Fraction\ndef f():\n    return [Fraction(1, 3), Decimal('1.10')]",
    "from decimal import Decimal\nfrom fractions import Fraction\nassert f() == [Fraction(1, 3), Decimal('1.1')]\nassert str(f()[1]) == '1.10'",
)
asserted(
    "complex, bytes, range, slice",
    "def f():\n    return [1j, b'a', range(3), slice(1, 2), ..., frozenset({1})]",
    "assert f() == [1j, b'a', range(3), slice(1, 2), ..., frozenset({1})]",
)
asserted(
    "types as results",
    "def f(x):\n    return type(x)",
    "assert f(3) is int\nassert f('a') == str\nassert f(None) is type(None)\nassert f([]) != dict",
)
asserted(
    "an exception as result",
    "def f(s):\n    try:\n        return int(s)\n    except ValueError as error:\n        return error",
    "assert isinstance(f('x'), ValueError)\nassert 'x' in str(f('x'))\nassert f('3') == 3",
)
asserted(
    "SimpleNamespace",
    "from types import SimpleNamespace\ndef f():\n    return SimpleNamespace(a=1, b=[2])",
    "from types import SimpleNamespace\nassert f().b == [2]\nassert f() == SimpleNamespace(a=1, b=[2])",
)
asserted(
    "re.Pattern",
    "import re\ndef f():\n    return re.compile('a+', re.I)",
    "assert f().findall('aAb') == ['aA']\nassert f().pattern == 'a+'",
)
asserted(
    "re.Match",
    "import re\ndef f(s):\n    return re.search('(b)', s)",
    "assert f('abc')\nassert f('abc').span() == (1, 2)\nassert not f('x')",
)
asserted(
    "ipaddress",
    "import ipaddress\ndef f(s):\n    return ipaddress.ip_address(s)",
    "import ipaddress\nassert f('10.0.0.1') == ipaddress.ip_address('10.0.0.1')\nassert f('10.0.0.1').is_private",
)
asserted("NotImplemented", "def f():\n    return NotImplemented", "assert f() is NotImplemented")
asserted(
    "dict views",
    "def f(d):\n    return d.keys(), d.items(), list(d.values())",
    "k, i, v = f({'a': 1})\nassert k == {'a'}\nassert ('a', 1) in i\nassert v == [1]",
)
asserted("a returned function", "def f(n):\n    return lambda x: x + n", "assert f(2)(3) == 5\nassert callable(f(1))")
asserted("nan in a list", "def f():\n    return [float('nan')]", "assert f()[0] != f()[0]")
asserted(
    "ndarray",
    "import numpy as np\ndef f(n):\n    return np.arange(n).reshape(2, -1)",
    "import numpy as np\nassert (f(4) == np.array([[0, 1], [2, 3]])).all()\nassert f(4).shape == (2, 2)\nassert f(4).sum() == 6",
    "numpy",
)
asserted(
    "numpy scalars",
    "import numpy as np\ndef f():\n    return np.float64(1.5), np.int64(3), np.bool_(True)",
    "assert f() == (1.5, 3, True)\nassert abs(f()[0] - 1.5) < 1e-9",
    "numpy",
)
asserted(
    "DataFrame",
    "import pandas as pd\ndef f():\n    return pd.DataFrame({'a': [1, 2]})",
    "import pandas as pd\nassert f().equals(pd.DataFrame({'a': [1, 2]}))\nassert list(f().columns) == ['a']",
    "pandas",
)

# --- tests of many forms ------------------------------------------------------------------------------------------------

asserted(
    "tests in two threads",
    "def f(x):\n    return x * x",
    "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n    assert list(pool.map(f, range(50))) == [x * x for x in range(50)]",
)
asserted(
    "tests in unittest",
    "def f(x):\n    return -x",
    "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(2), -2)\n        with self.assertRaises(TypeError):\n            f('a')\nassert unittest.TextTestRunner(stream=open('/dev/null', 'w')).run(unittest.defaultTestLoader.loadTestsFromTestCase(T)).wasSuccessful()",
)
asserted(
    "an exception of its own",
    "class Bad(ValueError):\n    pass\ndef f():\n    raise Bad('no')",
    "try:\n    f()\nexcept ValueError as error:\n    assert 'no' in str(error)\nelse:\n    raise AssertionError",
)
asserted("sorted in place", "def f(xs):\n    xs.sort()", "xs = [2, 1]\nassert f(xs) is None")
asserted(
    "asyncio in a function",
    "import asyncio\nasync def g():\n    await asyncio.sleep(0)\n    return 4\ndef f():\n    return asyncio.run(g())",
    "assert f() == 4\nassert f() == 4",
)
asserted(
    "a temporary file in a function",
    "import os, tempfile\ndef f(text):\n    with tempfile.NamedTemporaryFile('w', delete=False) as file:\n        file.write(text)\n    try:\n        return open(file.name).read()\n    finally:\n        os.remove(file.name)",
    "assert f('abc') == 'abc'",
)
asserted(
    "a ThreadPool in a function",
    "from multiprocessing.pool import ThreadPool\ndef f(xs):\n    with ThreadPool(2) as pool:\n        return pool.map(abs, xs)",
    "assert f([-1, -2]) == [1, 2]",
)
asserted("print in a function", "def f(x):\n    print('noise', x)\n    return x", "assert f(3) == 3")
asserted(
    "stdout replaced and not restored",
    "import io, sys\nsys.stdout = io.StringIO()\ndef f(x):\n    print(x)\n    return sys.stdout.getvalue()",
    "assert f(3) == '3\\n'",
)
asserted(
    "stdout without closed, called",
    "import sys\nclass Out:\n    def write(self, s): pass\n    def flush(self): pass\nsys.stdout = Out()\ndef f(x):\n    print(x)\n    return x",
    "assert f(3) == 3",
)
asserted(
    "inspect.signature and getsource",
    "import inspect\ndef g(a, b=2): pass\ndef f():\n    return str(inspect.signature(g))",
    "assert f() == '(a, b=2)'",
)
asserted(
    "logging",
    "import logging\nlogging.basicConfig()\ndef f():\n    logging.warning('x')\n    return 1",
    "assert f() == 1",
)
asserted("a wrong answer", "def f(x):\n    return x", "assert f(3) == 4")
asserted(
    "hashlib and base64",
    "import base64, hashlib\ndef f(s):\n    return hashlib.sha256(s.encode()).hexdigest()[:4] + base64.b64encode(s.encode()).decode()",
    "assert f('a') == 'ca97YQ=='",
)
asserted(
    "typing, abc, generics",
    "from typing import Generic, TypeVar, Optional\nT = TypeVar('T')\nclass Box(Generic[T]):\n    def __init__(self, x: T): self.x = x\ndef f(x: Optional[int]) -> int:\n    return Box[int](x).x",
    "assert f(3) == 3",
)
