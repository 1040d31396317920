"""What a failed program is told: its first failing test, and what happened there (Personalised Distillation, section 3.2)."""

from __future__ import annotations

import re

from trl_gift.sampling.showing import show_test
from trl_gift.sandbox import Outcome, Status, Tests

MAX_MESSAGE_CHARACTERS = 1000
"""Longest message that is shown; a program may print or return megabytes."""

# Where an object lies in memory differs from run to run; a prompt that held it would, too.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def feedback(outcome: Outcome, tests: Tests) -> str:
    """The first failure of a program, in words that a model can use.

    Args:
        outcome: What happened to the program on `tests`; it did not pass.
        tests: The tests that may be shown.

    Returns:
        The failing test, and the exception or the value that was returned or printed instead; each at most about a thousand
        characters long. The same program on the same tests gives the same words.
    """
    message = _ADDRESS.sub("", outcome.message).strip()
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = f"{message[:MAX_MESSAGE_CHARACTERS]}..."
    message = message or str(outcome.status)
    # What does not compile fails no test in particular.
    if outcome.first_failure is None or outcome.status == Status.SYNTAX_ERROR:
        return message
    test = show_test(tests, outcome.first_failure)
    return message if _plain(test) in _plain(message) else f"{test}\n{message}"


def _plain(text: str) -> str:
    return " ".join(text.split())
