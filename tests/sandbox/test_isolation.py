"""The isolation: every plan holds, and if none can be put in force the error names each missing layer and its fix."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys

import pytest

from tests.sandbox.degrade import deny
from trl_gift.sandbox import (
    AssertTests,
    CallTests,
    Case,
    IsolationUnavailable,
    Limits,
    LocalSandbox,
    Status,
    probe_isolation,
)
from trl_gift.sandbox.confine import seccomp, syscalls
from trl_gift.sandbox.confine.plan import NONE, PLANS, Plan
from trl_gift.sandbox.pool import isolation
from trl_gift.sandbox.pool.worker import Job, Worker

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ADD = "def add(a, b):\n    return a + b\n"
ADDS = CallTests("add", [Case(args=(1, 2), expected=3)])


def attacks(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """The suite of attacks in a process of its own, from which layers can be taken."""
    command = [sys.executable, "-m", "tests.sandbox.attacks", "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)


@pytest.mark.parametrize(
    ("denied", "left"),
    [
        (["namespaces"], "landlock+seccomp"),
        (["landlock"], "seccomp+namespaces"),
        (["landlock", "namespaces"], "seccomp+nofiles"),
    ],
)
def test_weaker_plans_let_nothing_escape(denied, left):
    result = attacks("--family", "escape", "--deny", *denied)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"under {left}: 0 broken" in result.stdout


def test_where_no_file_may_be_opened_the_common_modules_are_loaded():
    names = ["dataclasses", "hashlib", "threading", "inspect", "pathlib", "asyncio", "tempfile", "unittest", "csv"]
    worker = Worker(PLANS[-1])
    try:
        for name in names:
            assert worker.run(Job(f"import {name}\n{ADD}", ADDS, Limits(), True)).passed, name
    finally:
        worker.close()


@pytest.mark.parametrize("limits", ["-n 40", "-v 1300000", "-f 100 -t 1000 -s 512"])
def test_lower_limits_of_the_shell_stay(limits):
    """Ours may not raise them, and a sandbox under them works."""
    script = (
        "from trl_gift.sandbox import CallTests, Case, LocalSandbox\n"
        "with LocalSandbox(num_workers=1) as pool:\n"
        f"    print(pool.run({ADD!r}, CallTests('add', [Case(args=(1, 2), expected=3)])).status)\n"
    )
    command = ["bash", "-c", f'ulimit {limits}; exec {sys.executable} -c "$0"', script]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "passed\n", result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("denied", [["namespaces"], ["landlock"], ["landlock", "namespaces"]])
def test_weaker_plans_hold_every_attack(denied):
    result = attacks("--deny", *denied)
    assert result.returncode == 0, result.stdout + result.stderr


def test_without_seccomp_nothing_is_safe_enough():
    result = attacks("--deny", "landlock", "seccomp")
    assert result.returncode != 0
    message = result.stderr[result.stderr.rindex("IsolationUnavailable") :]
    assert "landlock: " in message
    assert "Fix: boot a kernel" in message
    assert "seccomp: " in message
    assert "CONFIG_SECCOMP_FILTER" in message
    assert "isolation='none'" in message


def test_this_machine():
    with LocalSandbox(num_workers=1) as pool:
        assert pool.isolation in {plan.describe() for plan in PLANS}
        assert pool.isolation == pool.run(ADD, ADDS).isolation


def test_probes_name_the_layers():
    reports = {report.name: report for report in probe_isolation()}
    assert set(reports) == {"landlock", "seccomp", "namespaces", "limits"}
    assert reports["seccomp"].enforced
    assert reports["limits"].enforced
    for report in reports.values():
        assert report.enforced or report.fix
        assert report.detail


def test_probes_without_landlock_and_namespaces():
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            deny("landlock")
            deny("namespaces")
            reports = {report.name: report for report in probe_isolation()}
            missing = [name for name, report in reports.items() if not report.available]
            code = 0 if missing == ["landlock", "namespaces"] and reports["limits"].enforced else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_probes_see_a_layer_that_is_not_enforced():
    # A plan without any layer: every probe must report what it could do, or the self-test proves nothing.
    escapes = isolation.try_plan(NONE, ("read", "write", "chmod", "fork", "signal", "connect"))
    assert set(escapes) == {"read", "write", "chmod", "fork", "signal", "connect"}


@pytest.mark.parametrize(
    ("layer", "probes"),
    [("landlock", ("read", "write", "connect")), ("seccomp", ("chmod", "fork", "signal")), ("namespaces", ("read", "signal", "connect"))],
)  # fmt: skip
def test_each_layer_holds_by_itself(layer, probes):
    plan = Plan(**{name: name == layer for name in ("landlock", "seccomp", "namespaces")})
    assert isolation.try_plan(plan, probes) == {}


def test_no_isolation_needs_two_consents(monkeypatch):
    monkeypatch.delenv(isolation.CONSENT, raising=False)
    with pytest.raises(IsolationUnavailable, match=isolation.CONSENT):
        LocalSandbox(num_workers=1, isolation="none")
    monkeypatch.setenv(isolation.CONSENT, "1")
    with LocalSandbox(num_workers=1, isolation="none") as pool:
        outcome = pool.run(ADD, ADDS)
    assert outcome.status is Status.PASSED
    assert outcome.isolation == "none"
    assert not outcome.trusted


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_refused_with_an_alternative(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(IsolationUnavailable, match=r"WSL2.*Docker.*remote sandbox"):
        LocalSandbox(num_workers=1)
    assert not probe_isolation()[0].available


def test_unknown_isolation():
    with pytest.raises(ValueError, match="choose 'required' or 'none'"):
        LocalSandbox(num_workers=1, isolation="maybe")


NOBODY = 65534


def interpreter_for_every_user() -> str | None:
    for path in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if path:
            code = "import sys, trl_gift.sandbox; sys.exit(sys.version_info < (3, 11))"
            try:
                if not subprocess.run(
                    [path, "-c", code], user=NOBODY, group=NOBODY, extra_groups=[], cwd=ROOT, capture_output=True
                ).returncode:
                    return path
            except PermissionError:
                continue
    return None


@pytest.mark.skipif(
    os.getuid() != 0, reason="only root can become another user; another user runs the whole suite as itself"
)
def test_as_an_ordinary_user():
    path = interpreter_for_every_user()
    if path is None:
        pytest.skip("no Python >= 3.11 here that every user may run")
    result = subprocess.run(
        [path, "-m", "tests.sandbox.attacks", "--quiet", "--family", "escape"],
        user=NOBODY, group=NOBODY, extra_groups=[], cwd=ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("architecture", syscalls.ARCHITECTURES)
def test_filters_by_emulation(architecture):
    """The assembled filter, run by a small BPF machine, agrees with the lists for every call number."""
    code = seccomp.assemble(seccomp.COMPUTE + seccomp.FILES, architecture)
    program = [struct.unpack_from("=HBBI", code, offset) for offset in range(0, len(code), 8)]
    assert len(program) < 4096

    def run(number: int, *arguments: int, arch: int = syscalls.AUDIT_ARCH[architecture]) -> str:
        data = struct.pack("=IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
        counter = accumulator = 0
        while True:
            operation, yes, no, constant = program[counter]
            counter += 1
            if operation == 0x20:
                (accumulator,) = struct.unpack_from("=I", data, constant)
            elif operation == 0x05:
                counter += constant
            elif operation == 0x06:
                return {0x7FFF0000: "allow", 0x80000000: "kill", 0x50001: "EPERM", 0x50026: "ENOSYS"}[constant]
            else:
                test = {0x15: accumulator == constant, 0x35: accumulator >= constant, 0x45: accumulator & constant}
                counter += yes if test[operation] else no

    def number(name: str) -> int:
        found = syscalls.number(name, architecture)
        assert found is not None
        return found

    allowed = {syscalls.number(name, architecture) for name in seccomp.COMPUTE + seccomp.FILES}
    killed = {syscalls.number(name, architecture) for name in seccomp.KILLED}
    special = {
        number(name) for name in ("fcntl", "ioctl", "prlimit64", "clone", "clone3", "socketpair", "sendto", "recvfrom")
    }
    for call in set(range(1200)) - special:
        assert run(call) == ("allow" if call in allowed else "kill" if call in killed else "EPERM")
    assert run(number("clone3")) == "ENOSYS"
    assert run(number("clone"), 17) == "EPERM"
    assert run(number("clone"), 0x10000 | 17) == "allow"
    assert run(number("fcntl"), 0, 8) == "EPERM"  # F_SETOWN
    assert run(number("fcntl"), 0, 1030) == "allow"  # F_DUPFD_CLOEXEC
    assert run(number("ioctl"), 0, 0x5412) == "EPERM"  # TIOCSTI
    assert run(number("socketpair"), 1, 1 | 0x80000) == "allow"
    for family, kind in ((1, 2), (1, 5), (2, 1), (16, 3), (1, 1 | 0x40)):
        assert run(number("socketpair"), family, kind) == "EPERM"
    for call in ("sendto", "recvfrom"):
        assert run(number(call), 3, 0, 0, 0) == "allow"
        assert run(number(call), 3, 0, 0, 1) == "EPERM"  # MSG_OOB
    assert run(number("prlimit64"), 0) == "allow"
    assert run(number("prlimit64"), 1) == "EPERM"
    assert run(number("read") | 0x40000000) == "kill"  # x32
    assert run(number("read"), arch=0x40000003) == "kill"  # 32-bit


def test_tables_agree_with_the_kernels_headers():
    headers = {
        "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        "aarch64": "/usr/include/asm-generic/unistd.h",
    }
    compared = 0
    for architecture, path in headers.items():
        if not os.path.exists(path):
            continue
        with open(path) as file:
            words = [line.split() for line in file if line.startswith("#define __NR")]
        defined = {
            w[1].removeprefix("__NR3264_").removeprefix("__NR_"): int(w[2])
            for w in words
            if len(w) == 3 and w[2].isdigit()
        }
        defined["newfstatat"] = defined.get("newfstatat", defined.get("fstatat", -1))
        for name in syscalls.NUMBERS:
            ours = syscalls.number(name, architecture)
            if name in defined:
                assert ours == defined[name], name
                compared += 1
    if not compared:
        pytest.skip("no kernel headers here")


def test_threads_are_limited():
    """Threads with small stacks cost more memory of the kernel than of the program."""
    source = (
        "import _thread, time\n_thread.stack_size(32 << 10)\n"
        "def f():\n    started = 0\n    try:\n        while started < 3000:\n"
        "            _thread.start_new_thread(time.sleep, (100,))\n            started += 1\n"
        "    except (RuntimeError, MemoryError):\n        pass\n    return started\n"
    )
    found = {report.name: report for report in probe_isolation()}["namespaces"]
    tests = AssertTests("started = f()\nassert 100 < started < 1024, started", entry_point="f")
    with LocalSandbox(num_workers=1) as sandbox:
        outcome = sandbox.run(source, tests, limits=Limits(memory_mb=1024))
        assert outcome.passed is ("at most 1024 threads" in found.detail), (outcome.message, found.detail)
        assert sandbox.run("def f():\n    return 200", tests).passed
