"""`Status`: how one program ended. A separate module, because workers need only this part of `outcome`."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How one program ended, or one of its tests.

    Attributes:
        PASSED: Every test passed.
        FAILED: A wrong answer.
        ERROR: The program raised, exited or crashed.
        TIMEOUT: The program reached its limit of CPU time, or of wall time as the backstop.
        MEMORY: The program reached its memory limit.
        VIOLATION: The program tried what the sandbox forbids, or broke the protocol.
        SYNTAX_ERROR: The program is not valid source, or does not compile.
        INFRASTRUCTURE: The sandbox failed, or the tests cannot be run: never a wrong answer of the program.
    """

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    VIOLATION = "violation"
    SYNTAX_ERROR = "syntax_error"
    INFRASTRUCTURE = "infrastructure"
