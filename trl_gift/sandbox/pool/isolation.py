"""Finds out how this machine can confine programs: chooses the layers, proves that they hold, names what is missing.

`establish` tries the plans from the best to the weakest. It returns the first plan that starts *and* under which no
probe escapes: a layer that the kernel accepts but does not enforce counts as absent. `probe_isolation` tries every layer
by itself, for `trl-gift doctor`.

The probes run as programs do, through a worker, so they prove what programs will meet.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from trl_gift.sandbox.cases import CallTests, Case
from trl_gift.sandbox.confine.plan import NONE, PLANS, Plan
from trl_gift.sandbox.outcome import IsolationUnavailable, Limits, SandboxError
from trl_gift.sandbox.pool.report import JudgeDied
from trl_gift.sandbox.pool.worker import Job, LayerUnavailable, Worker, WorkerDied
from trl_gift.sandbox.status import Status

CONSENT = "TRL_GIFT_ALLOW_NO_ISOLATION"

_FIXES = {
    "landlock": "boot a kernel >= 5.13 with CONFIG_SECURITY_LANDLOCK and 'landlock' in the lsm= list; in a container, "
    "use a seccomp profile that allows the landlock_* calls",
    "seccomp": "use a kernel with CONFIG_SECCOMP_FILTER on x86-64 or aarch64, and not an emulated one (gVisor, WSL1)",
    "namespaces": "allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone=1 and "
    "kernel.apparmor_restrict_unprivileged_userns=0; in Docker add --security-opt seccomp=unconfined or a profile "
    "that allows unshare and mount",
    "limits": "run on a kernel that enforces RLIMIT_AS and lets a process drop its capabilities",
}

_PROBE_SOURCE = """
import ctypes, os, socket, sys

def probe(name, canary, parent, port):
    try:
        return globals()["try_" + name](canary, parent, port)
    except MemoryError:
        return "denied"
    except OSError:
        return "denied"

def try_read(canary, parent, port):
    return open(canary).read()

def try_write(canary, parent, port):
    open(canary + ".new", "w").close()
    return "wrote a file"

def try_chmod(canary, parent, port):
    os.chmod(canary, 0o600)
    return "changed the mode of a file"

def try_fork(canary, parent, port):
    pid = ctypes.CDLL(None).fork()  # not os.fork, which refuses by itself
    if pid == 0:
        os._exit(0)
    return "denied" if pid < 0 else "forked"

def try_exec(canary, parent, port):
    for path in ("/bin/true", "/usr/bin/true", sys.executable):
        if os.access(path, os.X_OK):
            os.execv(path, [path])
    return "denied"

def try_signal(canary, parent, port):
    os.kill(parent, 0)
    return "may signal the trainer"

def try_connect(canary, parent, port):
    socket.socket().connect(("127.0.0.1", port))
    return "opened a connection"

def try_memory(canary, parent, port):
    block = bytearray(1 << 30)
    return "took more memory than the limit"

def try_capability(canary, parent, port):
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return "denied" if ctypes.CDLL(None).capset(header, data) else "has capabilities"
"""

_PROBES = ("read", "write", "chmod", "fork", "exec", "signal", "connect", "memory", "capability")
_PROVES = {
    "landlock": ("read", "write", "connect"),
    "seccomp": ("chmod", "fork", "signal"),
    "namespaces": ("read", "write", "signal", "connect"),
}
_NO_TASK_LIMIT = (
    "nothing but memory limits the number of threads: that takes a kernel >= 6.14 and a writable /proc/sys, or a user who "
    "is not root"
)
_LIMITS = Limits(cpu_s=10, wall_s=30, memory_mb=256)


@dataclass(frozen=True)
class LayerReport:
    """What one layer does on this machine.

    Attributes:
        name: `"landlock"`, `"seccomp"`, `"namespaces"` or `"limits"`; `"platform"` where the system is not Linux.
        available: Whether the layer could be put in force.
        enforced: Whether it was put in force and no probe escaped.
        detail: What the probes were denied, or what they could do, or what the kernel said.
        fix: How to make the layer available; empty if it is enforced.
    """

    name: str
    available: bool
    enforced: bool
    detail: str
    fix: str


def unsupported() -> str | None:
    """The reason why this platform cannot run the local sandbox at all, or None."""
    if sys.platform != "linux":
        return (
            f"the local sandbox needs Linux, this is {platform.system()}: run inside WSL2 (Windows), Docker or a Linux "
            f"virtual machine, or use a remote sandbox (trl_gift.sandbox.SandboxFusionSandbox)"
        )
    return None


def establish(isolation: str) -> Plan:
    """The best plan that holds on this machine.

    Args:
        isolation: `"required"`, or `"none"` for no layers.

    Raises:
        IsolationUnavailable: No plan holds, or the consent to `"none"` is missing.
        ValueError: Another value of `isolation`.
    """
    if isolation == "none":
        if os.environ.get(CONSENT) != "1":
            raise IsolationUnavailable(
                f"isolation='none' runs untrusted programs with all the rights of this process; if you want that, set "
                f"the environment variable {CONSENT}=1 as well"
            )
        return NONE
    if isolation != "required":
        raise ValueError(f"isolation={isolation!r}: unknown; choose 'required' or 'none'")
    failures: dict[str, str] = {}
    for plan in PLANS:
        if any(getattr(plan, layer, False) for layer in failures):
            continue  # one of its layers failed in an earlier plan
        try:
            escapes = try_plan(plan, _PROBES)
        except LayerUnavailable as missing:
            failures[missing.layer] = str(missing)
            continue
        except SandboxError as error:
            failures[f"self-test of {plan.describe()}"] = str(error)
            continue
        if not escapes:
            return plan
        for layer, probes in _PROVES.items():
            if getattr(plan, layer) and escapes.keys() & set(probes):
                failures[layer] = "; ".join(f"{probe}: {escapes[probe]}" for probe in probes if probe in escapes)
        if not failures:
            failures["limits"] = "; ".join(f"{probe}: {what}" for probe, what in escapes.items())
            break
    lines = [f"  {layer}: {detail}. Fix: {_FIXES.get(layer, 'report this')}" for layer, detail in failures.items()]
    raise IsolationUnavailable(
        "no isolation that is safe for untrusted programs is available here:\n"
        + "\n".join(lines)
        + f"\nOr use a remote sandbox; or accept the risk with isolation='none' and {CONSENT}=1."
    )


def try_plan(plan: Plan, probes: tuple[str, ...]) -> dict[str, str]:
    """Run the probes under `plan`.

    Returns:
        The probes that escaped, each with what it could do.

    Raises:
        LayerUnavailable: The plan cannot be put in force.
        SandboxError: The probes did not run to their end.
    """
    return _try(plan, probes)[0]


def _try(plan: Plan, probes: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """What `try_plan` returns, and what limits the threads and processes of a worker."""
    worker = Worker(plan)
    try:
        with _bait() as (canary, port):
            arguments = (canary, os.getpid(), port)
            cases = [Case(args=(name, *arguments), expected="denied") for name in probes]
            outcome = worker.run(Job(_PROBE_SOURCE, CallTests("probe", cases), _LIMITS, stop_at_first_failure=False))
    except (WorkerDied, JudgeDied) as error:
        raise SandboxError(f"the self-test of {plan.describe()} did not finish: {error}") from error
    finally:
        worker.close()
    if len(outcome.results) != len(probes):
        raise SandboxError(f"the self-test of {plan.describe()} did not run: {outcome.status}, {outcome.message}")
    escapes = {}
    for name, result in zip(probes, outcome.results, strict=True):
        if result.status is not Status.PASSED:
            escapes[name] = result.message or f"not reached after {outcome.message}"
    return escapes, worker.task_limit


@contextlib.contextmanager
def _bait() -> Iterator[tuple[str, int]]:
    """A file that no program may read and a port that no program may reach."""
    with (
        tempfile.TemporaryDirectory(prefix="trl-gift-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        canary = os.path.join(folder, "canary")
        with open(canary, "w") as file:
            file.write("read a file outside")
        yield canary, server.getsockname()[1]


def probe_isolation() -> list[LayerReport]:
    """Try every layer by itself: whether it can be put in force here, and whether the probes prove that it holds.

    Returns:
        A report each for `landlock`, `seccomp`, `namespaces` and `limits`; one report for `platform` outside Linux.
    """
    if (reason := unsupported()) is not None:
        return [LayerReport("platform", False, False, reason, "use a remote sandbox")]
    reports: list[LayerReport] = []
    for layer, probes in {**_PROVES, "limits": ("memory", "capability")}.items():
        # Limits hold under any plan, so they are tried under the first single layer that holds here.
        plan = Plan(**{name: name == layer for name in _PROVES}) if layer in _PROVES else _weakest_plan(reports)
        try:
            escapes, task_limit = _try(plan, probes)
        except LayerUnavailable as missing:
            reports.append(LayerReport(layer, False, False, str(missing), _FIXES[layer]))
            continue
        except SandboxError as error:
            reports.append(LayerReport(layer, True, False, str(error), _FIXES[layer]))
            continue
        detail = "; ".join(f"{probe}: {what}" for probe, what in escapes.items())
        proven = f"denied: {', '.join(probes)}"
        if layer == "namespaces":
            proven += f"; {task_limit or _NO_TASK_LIMIT}"
        reports.append(LayerReport(layer, True, not escapes, detail or proven, _FIXES[layer] if escapes else ""))
    return reports


def _weakest_plan(reports: list[LayerReport]) -> Plan:
    held = {report.name for report in reports if report.enforced}
    first = next((name for name in _PROVES if name in held), "seccomp")
    return Plan(**{name: name == first for name in _PROVES})
