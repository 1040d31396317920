"""The end of a program that reads standard input: what the interpreter does at its own end, without the rest of it.

Ending the interpreter itself would take longer than most programs, because it takes down every module that the worker has
loaded. Only what the program can notice is done: threads are waited for, `atexit` runs, the module's names are cleared in the
interpreter's order, so that files are written out and `__del__` runs, and every other open file is written out.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import gc
import io
import os
import sys
import types
from typing import NoReturn

_WRITERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
# Where only these are left, collecting them, which takes longer than most programs, shows nothing.
_WITHOUT_FINALIZER = frozenset(
    {
        list,
        dict,
        tuple,
        set,
        types.FunctionType,
        types.ModuleType,
        types.CellType,
        io.FileIO,
        io.BufferedReader,
        *_WRITERS,
    }
    | {codecs.getincrementaldecoder("utf-8")}
)
_FAILED_FLUSH = 120  # the interpreter's own status for it


def end(module: types.ModuleType, status: int) -> NoReturn:
    """End the process as the interpreter would.

    Args:
        module: The program's main module.
        status: Its exit status so far.
    """
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    if not _flush_stdout():
        status = _FAILED_FLUSH
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    _clear(module)
    # The fork server's own objects are frozen and not among these.
    if not _WITHOUT_FINALIZER.issuperset(map(type, gc.get_objects())):
        gc.collect()
    for item in gc.get_objects():
        if isinstance(item, _WRITERS):
            _flush(item)
    if sys.__stdout__ is not None:
        _flush(sys.__stdout__)
    os._exit(status & 0xFF)


def _flush_stdout() -> bool:
    """Whether `sys.stdout`, which may be any object or absent, was written out or needed no writing."""
    stdout = sys.__dict__.get("stdout")
    if stdout is None or getattr(stdout, "closed", False):
        return True
    try:
        stdout.flush()
    except BaseException:  # noqa: BLE001  the program's object may raise anything
        return False
    return True


def _flush(file: io.IOBase) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed file, or one whose descriptor is closed
        file.flush()


def _clear(module: types.ModuleType) -> None:
    """Set the names of a module to None: first those with one leading underscore, then the others."""
    names = module.__dict__
    private = [name for name in names if name.startswith("_") and not name.startswith("__")]
    for name in [*private, *(name for name in names if name != "__builtins__" and name not in private)]:
        names[name] = None
