"""Programs in other languages: judged as in Python, and confined more tightly than their compilers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.sandbox.attacks import Bait, bait
from tests.support.processes import BACKSTOP_S
from trl_gift.sandbox import Case, Limits, LocalSandbox, Status, StdioTests
from trl_gift.sandbox.languages import LANGUAGES, ToolchainMissing, language_named

TOOLS = {"c": "gcc", "cpp": "g++", "javascript": "node"}
CASES = [Case(stdin="1 2\n", stdout="3\n"), Case(stdin="4 5\n", stdout="9\n")]
RIGHT = {
    "c": '#include <stdio.h>\nint main(){int a,b;scanf("%d %d",&a,&b);printf("%d\\n",a+b);}',
    "cpp": "#include <iostream>\nint main(){int a,b;std::cin>>a>>b;std::cout<<a+b<<std::endl;}",
    "javascript": 'const [a,b]=require("fs").readFileSync(0,"utf8").split(" ").map(Number);console.log(a+b)',
}
LIMITS = Limits(cpu_s=2, wall_s=BACKSTOP_S, memory_mb=256)


@pytest.fixture(scope="module")
def prepared() -> Iterator[Bait]:
    with bait() as values:
        yield values


@pytest.fixture(scope="module")
def pool(prepared: Bait) -> Iterator[LocalSandbox]:
    with LocalSandbox(num_workers=1, limits=LIMITS) as sandbox:
        if "landlock" not in sandbox.isolation:
            pytest.skip("other languages need Landlock")
        yield sandbox


def need(language: str) -> None:
    if shutil.which(TOOLS[language]) is None:
        pytest.skip(f"{TOOLS[language]} is not installed")


def test_the_table_is_tested():
    assert set(LANGUAGES) == set(TOOLS) == set(RIGHT)


@pytest.mark.parametrize("language", LANGUAGES)
def test_right_and_wrong(pool, language):
    need(language)
    tests = StdioTests(CASES, language=language)
    outcome = pool.run(RIGHT[language], tests)
    assert outcome.passed, outcome
    assert outcome.trusted
    assert outcome.cpu_s < 1
    wrong = pool.run(RIGHT[language].replace("a+b", "a-b"), tests)
    assert wrong.status is Status.FAILED
    assert wrong.message == "line 1 is '-1', not '3'"


@pytest.mark.parametrize(
    ("language", "source", "status", "words"),
    [
        ("c", "int main( {}", Status.SYNTAX_ERROR, "error"),
        ("c", "int main(){for(;;);}", Status.TIMEOUT, "CPU time"),
        ("c", "int main(){return 3;}", Status.ERROR, "exit status 3"),
        ("c", "int main(){*(volatile int*)0=1;}", Status.ERROR, "SIGSEGV"),
        ("c", '#include "/etc/passwd"\nint main(){}', Status.SYNTAX_ERROR, "/etc/passwd"),
        ("c", '#include "@SECRET_FILE@"\nint main(){}', Status.SYNTAX_ERROR, "secret"),
        ("javascript", "const x = ;", Status.ERROR, "SyntaxError"),
        ("javascript", "throw new RangeError('bad')", Status.ERROR, "RangeError: bad"),
        ("javascript", "for(;;);", Status.TIMEOUT, "CPU time"),
    ],
)
def test_status(pool, prepared, language, source, status, words):
    need(language)
    outcome = pool.run(prepared.fill(source), StdioTests(CASES, language=language))
    assert outcome.status is status, outcome
    assert words in outcome.message


C_HEAD = """
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/ptrace.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sched.h>
int attempt(void);
int main(){int a,b;scanf("%d %d",&a,&b);if(attempt())printf("%d\\n",a+b);}
"""


@pytest.mark.parametrize(
    "body",
    [
        "return fork() > 0;",
        "return vfork() > 0;",
        'return system("true") == 0;',
        'execl("/bin/sh", "sh", "-c", "echo 3", NULL); return 0;',
        'execl("/usr/bin/gcc", "gcc", "--version", NULL); return 0;',
        'return open("/etc/passwd", O_RDONLY) >= 0;',
        'return open("@SECRET_FILE@", O_RDONLY) >= 0;',
        'return open("/usr/bin/gcc", O_RDONLY) >= 0;',
        'return open("/scratch/note", O_CREAT|O_WRONLY, 0600) >= 0;',
        'return open("program", O_WRONLY) >= 0 || open("note", O_CREAT|O_WRONLY, 0600) >= 0;',
        'return open("/proc/self/mem", O_RDWR) >= 0;',
        'return chmod("@SECRET_FILE@", 0777) == 0;',
        "return socket(AF_INET, SOCK_STREAM, 0) >= 0;",
        "return kill(getppid(), 0) == 0;",
        "return kill(-1, 9) == 0;",
        "return ptrace(PTRACE_ATTACH, getppid(), 0, 0) == 0;",
        "return unshare(CLONE_NEWUSER) == 0;",
        'return memfd_create("x", 0) >= 0;',
        "return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) > 0;",
        "return malloc(1L << 31) != NULL;",
        "return dup2(1, 200) >= 0;",
        'return write(3, "run", 3) > 0 || write(4, "x", 1) > 0;',
    ],
)
def test_attacks_in_c(pool, prepared, body):
    need("c")
    source = prepared.fill(f"{C_HEAD}int attempt(void){{{body}}}\n")
    outcome = pool.run(source, StdioTests(CASES, language="c"))
    assert not outcome.passed
    assert outcome.status not in (Status.SYNTAX_ERROR, Status.INFRASTRUCTURE), outcome
    assert pool.run(RIGHT["c"], StdioTests(CASES, language="c")).passed
    assert prepared.untouched()


@pytest.mark.parametrize(
    "attempt",
    [
        "require('child_process').execSync('true'); return true",
        "return require('child_process').spawnSync('/bin/true').status === 0",
        "return require('fs').readFileSync('/etc/passwd')",
        "return require('fs').readFileSync('@SECRET_FILE@')",
        "require('fs').writeFileSync('/scratch/job/note', 'x'); return true",
        "process.kill(process.ppid, 0); return true",
        "return process.env.TRL_GIFT_TEST_SECRET",
        "return Buffer.alloc(1 << 30, 1)",
    ],
)
def test_attacks_in_javascript(pool, prepared, attempt):
    need("javascript")
    source = f"""
    let worked = false
    try {{ worked = Boolean((() => {{ {prepared.fill(attempt)} }})()) }} catch (error) {{}}
    const [a, b] = require("fs").readFileSync(0, "utf8").split(" ").map(Number)
    console.log(worked ? a + b : "refused")
    """
    outcome = pool.run(source, StdioTests(CASES, language="javascript"))
    assert not outcome.passed
    assert outcome.status is not Status.INFRASTRUCTURE, outcome
    assert pool.run(RIGHT["javascript"], StdioTests(CASES, language="javascript")).passed
    assert prepared.untouched()


def test_a_missing_toolchain_is_named(pool, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolchainMissing, match="need gcc, which is not on the PATH; install it"):
        pool.run(RIGHT["c"], StdioTests(CASES, language="c"))


def test_unknown_languages_are_refused():
    with pytest.raises(ValueError, match="choose one of python, c, cpp, javascript"):
        StdioTests(CASES, language="cobol")


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("python", "python"), ("Python 3.11", "python"), ("PyPy3", "python"), (" py ", "python"), ("C++", "cpp"),
        ("c++17", "cpp"), ("cpp", "cpp"), ("C", "c"), ("JS", "javascript"), ("Node.js", "javascript"),
        ("rust", None), ("java", None), ("", None), ("17", None), ("c#", None),
    ],
)  # fmt: skip
def test_names_of_languages_in_data_sets(name, language):
    assert language_named(name) == language
