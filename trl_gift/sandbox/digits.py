"""Whole numbers of any length as text: Python refuses those of more than 4,300 digits, and data sets hold longer ones.

The limit belongs to the interpreter, so it is lifted for as long as a text is read or written and then put back. Confined
processes have none: there the limit on CPU time serves the same purpose.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock  # not `threading`, whose fork hooks would slow every program
from collections.abc import Iterator
from contextlib import contextmanager

_lock = allocate_lock()
_inside = 0
_before = 0


@contextmanager
def any_number_of_digits() -> Iterator[None]:
    """Lifts the limit on the digits of whole numbers for the time of the block; several threads may be inside."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            _before = sys.get_int_max_str_digits()
            sys.set_int_max_str_digits(0)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                sys.set_int_max_str_digits(_before)
