"""What a sandbox returns (`Outcome`, `TestResult`), what a program may use (`Limits`), and the sandbox's errors.

Failures of a program are data (`Outcome`). Failures of the sandbox are typed exceptions, or the status `infrastructure`,
which never counts as a wrong answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Self

from trl_gift.sandbox.status import Status


class SandboxError(RuntimeError):
    """The sandbox cannot do what was asked; never a property of the program."""


class IsolationUnavailable(SandboxError):
    """No isolation that is safe enough is available here; the message names each missing layer and its fix."""


class SandboxClosed(SandboxError):
    """A program was given to a sandbox that is closed, or that belongs to another process."""


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    CPU time is the limit that decides. Wall time is the backstop for programs that sleep: it ends a program only if that
    has used less than a tenth of a CPU so far. On a machine so busy that a program gets less than its share, nothing
    changes until that share falls below a tenth.

    Attributes:
        cpu_s: CPU time of all threads, in seconds, 5 by default; for `StdioTests` per input, otherwise for the whole
            program with its tests.
        wall_s: Wall time, in seconds, 15 by default; per input or whole program as `cpu_s`, and not below it.
        memory_mb: Memory on top of what the interpreter and the preloaded modules use, in MiB, 1024 by default.
        output_mb: Size of the standard output and of each file, in MiB, 16 by default.
        open_files: Number of open files, 64 by default.

    Raises:
        ValueError: A limit is not above zero, or `wall_s` is below `cpu_s`.
    """

    cpu_s: float = 5.0
    wall_s: float = 15.0
    memory_mb: int = 1024
    output_mb: int = 16
    open_files: int = 64

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"Limits({item.name}={value!r}): a limit is a number above zero; give one")
        if self.wall_s < self.cpu_s:
            raise ValueError(
                f"Limits(cpu_s={self.cpu_s:g}, wall_s={self.wall_s:g}): the wall limit is the backstop of the CPU limit "
                f"and must not be below it; raise wall_s"
            )


@dataclass(frozen=True)
class TestResult:
    """The result of one test of one program.

    Attributes:
        index: Position of the test among the tests, from 0.
        status: How it ended; None if the test was not reached.
        message: Why it did not pass, at most 1000 characters; empty if it passed (the default).
        cpu_s: CPU time of its run, in seconds, for `StdioTests`; otherwise None (the default).
    """

    __test__ = False  # not a test class for pytest

    index: int
    status: Status | None
    message: str = ""
    cpu_s: float | None = None

    @property
    def passed(self) -> bool:
        """Whether this test ran and passed."""
        return self.status is Status.PASSED


@dataclass(frozen=True)
class Outcome:
    """What happened to one program: the verdict, the evidence, the cost, and whether the verdict can be trusted.

    Attributes:
        status: How the program ended: `passed`, or the status of its first failing test.
        results: One result per test, in the order of the tests; empty by default, and if the sandbox failed.
        first_failure: Index of the first failing test; None (the default) if there is none.
        message: Message of the first failing test, or why the sandbox failed; empty by default.
        stdout_tail: The end of the standard output, at most 2000 bytes as text, for `StdioTests` of the last run; empty
            by default.
        cpu_s: CPU time of the program, in seconds, for `StdioTests` of all its runs; 0 by default, and from servers that
            do not measure it.
        wall_s: Wall time, in seconds; 0 by default.
        peak_memory_mb: Highest resident memory, in MiB; 0 by default, and from servers that do not measure it.
        isolation: The layers in force, such as `"landlock+seccomp+namespaces"`; `"none"` by default.
        trusted: Whether the program could not forge the verdict; False for tests in the program's own interpreter, and
            without isolation.
        attempts: How often the program was run, because a worker may die; 1 by default. Not compared by `==`.
    """

    status: Status
    results: tuple[TestResult, ...] = ()
    first_failure: int | None = None
    message: str = ""
    stdout_tail: str = ""
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_mb: float = 0.0
    isolation: str = "none"
    trusted: bool = True
    attempts: int = field(default=1, compare=False)

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return self.status is Status.PASSED

    @property
    def failure(self) -> str | None:
        """Why the program is wrong, in words; None if it passed, or if there is no verdict on it."""
        if self.status in (Status.PASSED, Status.INFRASTRUCTURE):
            return None
        return f"{self.status}: {self.message}".rstrip(": ")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_dict` restores an equal outcome."""
        return {**vars(self), "results": tuple(vars(result).copy() for result in self.results)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        results = tuple(
            TestResult(**{**item, "status": Status(item["status"]) if item["status"] is not None else None})
            for item in data["results"]
        )
        return cls(**{**data, "status": Status(data["status"]), "results": results})
