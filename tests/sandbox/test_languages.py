"""Programs in other languages: judged as in Python, and confined more tightly than their compilers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.sandbox.attacks import Bait, bait
from tests.support.processes import BACKSTOP_S
from tests.support.toolchains import PROGRAMS
from trl_gift.sandbox import Case, Limits, LocalSandbox, Status, StdioTests, ToolchainMissing, languages
from trl_gift.sandbox.languages import LanguageFileError, add_language_file, known, language_named, read_language

CASES = [Case(stdin="1 2\n", stdout="3\n"), Case(stdin="4 5\n", stdout="9\n")]
RIGHT = {language: programs.sum for language, programs in PROGRAMS.items()}
LIMITS = Limits(cpu_s=2, wall_s=BACKSTOP_S, memory_mb=256)
QUICK = ("c", "javascript", "lua", "bash")  # compiled and run in a tenth of a second
OTHERS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PROGRAMS]
NO_CHECK = ("javascript", "r", "julia")  # no command looks at the syntax before the program runs
DOCUMENTED = Path(__file__).parents[2] / "docs" / "sandbox.md"


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


@pytest.fixture
def own(monkeypatch):
    """The languages of files that a test adds, which are forgotten at its end."""
    monkeypatch.setattr(languages, "_own", {})


def need(language: str) -> None:
    try:
        languages.require(language)
    except ToolchainMissing as missing:
        pytest.skip(str(missing))


def test_every_language_that_is_shipped_is_tested():
    assert set(known()) == {"python", *PROGRAMS}


@pytest.mark.parametrize("language", OTHERS)
def test_right_and_wrong(pool, language):
    need(language)
    hello = pool.run(PROGRAMS[language].hello, StdioTests([Case(stdin="", stdout="hello")], language=language))
    assert hello.passed, hello
    tests = StdioTests(CASES, language=language)
    outcome = pool.run(RIGHT[language], tests)
    assert outcome.passed, outcome
    assert outcome.trusted
    wrong = pool.run(RIGHT[language].replace("a+b", "a-b"), tests)
    assert wrong.status is Status.FAILED
    assert wrong.message == "line 1 is '-1', not '3'"


@pytest.mark.parametrize("language", OTHERS)
def test_what_ends_a_program(pool, language):
    need(language)
    programs = PROGRAMS[language]
    tests = StdioTests([Case(stdin="", stdout="never")], language=language)
    if language not in NO_CHECK:
        wrong = pool.run(programs.wrong, tests)
        assert wrong.status is Status.SYNTAX_ERROR, wrong
        assert re.search("error|unexpected", wrong.message.lower())
        assert "/scratch" not in wrong.message
    error = pool.run(programs.error, tests)
    assert error.status is Status.ERROR
    assert programs.said in error.message
    endless = pool.run(programs.endless, tests)
    assert endless.status is Status.TIMEOUT, endless
    assert "CPU time" in endless.message
    memory = pool.run(programs.memory, tests)
    # C and C++ end as the program ends it.
    assert memory.status is Status.MEMORY or (
        language in ("c", "cpp") and memory.message in ("killed by SIGABRT", "killed by SIGSEGV")
    ), memory
    assert pool.run(RIGHT[language], StdioTests(CASES, language=language)).passed


@pytest.mark.parametrize("attack", ["fork", "file", "socket"])
@pytest.mark.parametrize("language", OTHERS)
def test_what_no_program_may_do(pool, prepared, language, attack):
    need(language)
    source = prepared.fill(getattr(PROGRAMS[language], attack))
    outcome = pool.run(source, StdioTests([Case(stdin="", stdout="never")], language=language))
    assert outcome.status in (Status.ERROR, Status.VIOLATION, Status.FAILED), outcome
    assert not any(word in outcome.stdout_tail for word in ("started", "connected", "a secret")), outcome
    assert pool.run(RIGHT[language], StdioTests(CASES, language=language)).passed
    assert prepared.untouched()


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


LUA = {"title": "Lua", "source": "main.lua", "run": ["lua5.4", "{source}"]}


def write(folder: Path, stem: str = "moon", **keys: object) -> Path:
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in {**LUA, **keys}.items() if value is not None}))
    return path


def test_a_missing_tool_is_named_with_its_package(pool, own, tmp_path):
    add_language_file(write(tmp_path, run=["absent-tool", "{source}"], package="moon-tools"))
    with pytest.raises(
        ToolchainMissing,
        match=r"need absent-tool, which is not installed here; install it \(apt-get install moon-tools\)",
    ):
        pool.run("", StdioTests(CASES, language="moon"))
    (found,) = [found for found in languages.toolchains() if found.language == "moon"]
    assert found.version is None
    assert "absent-tool" in found.problem


def test_a_tool_outside_of_what_programs_may_read_is_refused(own, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "moon"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho moon 1.0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    add_language_file(write(tmp_path, run=["moon", "{source}"]))
    with pytest.raises(ToolchainMissing, match=r"is not in a folder that confined programs may read; .* under 'read'"):
        languages.require("moon")
    add_language_file(write(tmp_path, run=["moon", "{source}"], read=[str(tmp_path / "bin")]))
    assert languages.commands(known()["moon"])["run"] == [str(tool), "{source}"]
    (found,) = [found for found in languages.toolchains() if found.language == "moon"]
    assert found.version == "moon 1.0"


def test_the_documented_file_works(own, tmp_path):
    (text,) = re.findall(r"```yaml\n(# pascal.yaml.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    path = tmp_path / "pascal.yaml"
    path.write_text(text)
    assert read_language(path).package == "fp-compiler"


@pytest.mark.parametrize("in_process", [True, False])
def test_a_file_of_the_user_is_a_language(own, tmp_path, in_process):
    need("bash")
    path = write(tmp_path, "shell2", title="Shell 2", source="main.sh", run=["bash", "{source}"], tags=["sh2"])
    with LocalSandbox(num_workers=1, limits=LIMITS, in_process=in_process, language_file=path) as sandbox:
        if "landlock" not in sandbox.isolation:
            pytest.skip("other languages need Landlock")
        tests = StdioTests(CASES, language="shell2")
        assert sandbox.run(RIGHT["bash"], tests).passed
        # A worker that has started learns of later files.
        add_language_file(
            write(tmp_path, "shell2", title="Shell 2", source="main.sh", run=["bash", "-c", "echo 3", "{source}"])
        )
        assert sandbox.run("", StdioTests(CASES[:1], language="shell2")).passed
    assert language_named("Shell2") == "shell2"
    assert languages.naming("shell2").title == "Shell 2"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"title": None}, "key 'title': missing; add it"),
        ({"run": None}, "key 'run': missing; give the command"),
        ({"run": "lua {source}"}, "key 'run' is 'lua {source}': must be a list of texts"),
        ({"run": ["lua"]}, "names neither '{source}' nor '{program}'"),
        ({"run": ["{source}"]}, "must begin with a program on the PATH"),
        ({"run": ["lua", "{sorce}"]}, "{sorce} is unknown; use {source}, {program}"),
        ({"compile": ["gcc", 2]}, "key 'compile' is ['gcc', 2]: must be a list of texts"),
        ({"tags": []}, "key 'tags' is []: must not be empty"),
        ({"source": "../x.lua"}, "must be the name of a file without a folder"),
        ({"reserves_memory": 1}, "must be true or false"),
        ({"extra_memory_mb": 1.5}, "must be a whole number of at least 0"),
        ({"cpu_factor": 0}, "must be a number of at least 1"),
        ({"read": ["/"]}, "'/' is not a folder that programs may see"),
        ({"read": ["~"]}, "is not a folder that programs may see"),
        ({"read": ["lib"]}, "'lib' is not a folder that programs may see"),
        ({"environment": {"A": 1}}, "must map names to texts"),
        ({"environment": {"A": "{x}"}}, "{x} is unknown"),
        ({"name": "My Lua"}, "'My Lua' is not a name for a language"),
        ({"compiler": ["gcc"]}, "key 'compiler' is ['gcc']: unknown; the keys are name, title"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_are_one_line(tmp_path, keys, message):
    path = write(tmp_path, **keys)
    with pytest.raises(LanguageFileError, match=re.escape(message)) as caught:
        read_language(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_mapping(own, tmp_path):
    path = tmp_path / "x.yaml"
    with pytest.raises(LanguageFileError, match="cannot be read"):
        read_language(path)
    path.write_text("a: [")
    with pytest.raises(LanguageFileError, match="not YAML"):
        read_language(path)
    path.write_text("- a")
    with pytest.raises(LanguageFileError, match="not a mapping"):
        read_language(path)
    with pytest.raises(LanguageFileError, match="python needs no file"):
        add_language_file(write(tmp_path, "python"))


def test_the_cache_of_a_compiler_is_emptied_when_it_is_large(tmp_path, monkeypatch):
    from trl_gift.sandbox.inside import native

    monkeypatch.setattr(native, "_MOST_CACHE", 10)
    cache = tmp_path / "cache"
    native._limit_cache(str(cache))
    (cache / "part").write_text("x" * 10)
    native._limit_cache(str(cache))
    assert (cache / "part").exists()
    (cache / "other").write_text("x")
    native._limit_cache(str(cache))
    assert list(cache.iterdir()) == []


def test_unknown_languages_are_refused():
    with pytest.raises(ValueError, match="choose one of python, bash, c, cpp, fortran"):
        StdioTests(CASES, language="cobol")


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("python", "python"), ("Python 3.11", "python"), ("PyPy3", "python"), (" py ", "python"), ("C++", "cpp"),
        ("c++17", "cpp"), ("cpp", "cpp"), ("C", "c"), ("JS", "javascript"), ("Node.js", "javascript"), ("Rust", "rust"),
        ("java 17", "java"), ("golang", "go"), ("R", "r"), ("ts", "typescript"), ("f90", "fortran"),
        ("cobol", None), ("", None), ("17", None), ("c#", None),
    ],
)  # fmt: skip
def test_names_of_languages_in_data_sets(name, language):
    assert language_named(name) == language
