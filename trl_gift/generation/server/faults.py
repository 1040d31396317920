"""The line of a server's log that says why it failed.

A server that dies writes hundreds of lines, most of them frames of tracebacks and what other processes say about the death of
the first. The cause is the last error that does not speak of another one.
"""

from __future__ import annotations

import re

_ERROR = re.compile(
    r"\b(?:[A-Z]\w*(?:Error|Exception|Interrupt)\b|ERROR\b|CRITICAL\b|FATAL\b|Killed\b|error:)|out of memory", re.ASCII
)
# A named exception says more than a line that is marked as an error.
_NAMED = re.compile(r"\b(?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt): .*\S|^Value error, .*\S", re.ASCII)
# vLLM's processes speak of one another's death; an interpreter's shutdown adds errors of its own.
_CONSEQUENCES = re.compile(
    r"root cause|EngineDeadError|EngineCore encountered|Executor failed|CancelledError|resource_tracker|leaked"
)


# Whatever a line of another level quotes, it is not what ended the server; nor is a progress bar.
_HARMLESS = re.compile(r"\b(?:DEBUG|INFO|WARNING)\b|\w+Warning:|(?:it/s|s/it)\]")


def cause(log: str) -> str:
    """The line of a log that tells the failure best, else its last line that is no mere information; empty without any."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not _HARMLESS.search(line)]
    telling = [line for line in lines if not _CONSEQUENCES.search(line)]
    for candidates in (telling, lines):
        for line in reversed(candidates):
            if found := _NAMED.search(line):
                return found.group()
        for line in reversed(candidates):
            if _ERROR.search(line):
                return line
    return lines[-1] if lines else ""
