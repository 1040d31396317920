"""Applies mutants one by one and says which of them a test notices.

    python -m tests.mutants.run                      every mutant
    python -m tests.mutants.run -k "end token"       those whose name, file or law holds this text
    python -m tests.mutants.run --jobs 2             two at once
    python -m tests.mutants.run --resume FILE        leaves out what FILE says is killed, and writes results into it

A mutant is applied to a copy of the package and of its tests in a temporary folder, never to the checkout. It is killed
if its test fails; a test that does not run, because the mutant cannot be imported or no test was found, is an error. First
the tests must pass on the unchanged copy. The exit code is 1 if a mutant survives, or on an error.

The libraries take ten seconds to import, so each mutant runs in a fork of a process that has imported them.
"""

from __future__ import annotations

import argparse
import compileall
import importlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import REPOSITORY, Mutant

COPIED = ("trl_gift", "tests", "tools", "pyproject.toml")
LIBRARIES = (
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "pyarrow.parquet", "scipy.stats", "hypothesis",
    "numpy", "yaml", "jinja2", "tokenizers", "trl.trainer.sft_trainer", "transformers.trainer",
)  # fmt: skip
KILLED, SURVIVED, BROKEN = "killed", "SURVIVED", "ERROR"
PASSED, FAILED = 0, 1  # exit codes of pytest
LONGEST_S = 600.0
_FORK = multiprocessing.get_context("fork")


class Workplace:
    """A copy of the package and of its tests, in which one mutant at a time is tried.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source, target = REPOSITORY / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        # A mutant differs from what was compiled in its time of change, so it is compiled anew, each time.
        compileall.compile_dir(folder / "trl_gift", quiet=2)
        self._output = folder / "output.txt"

    def begin(self, mutant: Mutant) -> BaseProcess:
        """Applies a mutant and starts its test; `undo` comes before the next one."""
        path = self.folder / mutant.file
        path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
        return self.start([mutant.test])

    def undo(self, mutant: Mutant) -> None:
        """Puts the file back that a mutant has changed."""
        shutil.copy2(REPOSITORY / mutant.file, self.folder / mutant.file)

    def start(self, nodes: Sequence[str]) -> BaseProcess:
        """Starts pytest on tests of the copy; the process ends with its exit code."""
        self._output.unlink(missing_ok=True)
        process = _FORK.Process(target=_test, args=(self.folder, list(nodes), self._output))
        process.start()
        return process

    def said(self) -> str:
        """The end of what the tests have printed."""
        return self._output.read_text(encoding="utf-8", errors="replace")[-4000:] if self._output.exists() else ""


@dataclass
class Attempt:
    """A mutant whose test runs."""

    mutant: Mutant
    place: Workplace
    process: BaseProcess
    began: float


def attempts(mutants: Sequence[Mutant], places: Sequence[Workplace]) -> Iterator[tuple[Attempt, str]]:
    """Tries mutants, as many at once as there are places; yields each with its result as soon as it is known."""
    waiting, free = deque(mutants), list(places)
    running: dict[int, Attempt] = {}
    while waiting or running:
        while waiting and free:
            mutant, place = waiting.popleft(), free.pop()
            process = place.begin(mutant)
            running[process.sentinel] = Attempt(mutant, place, process, time.monotonic())
        ended = wait(list(running), LONGEST_S)
        late = [key for key, one in running.items() if time.monotonic() - one.began > LONGEST_S]
        for key in {*ended, *late}:
            one = running.pop(key)
            if key not in ended:
                one.process.kill()
            one.process.join()
            yield one, {FAILED: KILLED, PASSED: SURVIVED}.get(one.process.exitcode, BROKEN)
            one.place.undo(one.mutant)
            free.append(one.place)


def _test(folder: Path, nodes: list[str], output: Path) -> None:
    """The child process: pytest on the copy, which is found before any other installation of the package."""
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    # What a mutant has compiled must not be taken for the next one, which may be as long and as old.
    os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in ("", str(REPOSITORY)))]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    import pytest

    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-n", "0", "--tb=short", *nodes])
    import trl_gift

    assert Path(trl_gift.__file__).is_relative_to(folder), trl_gift.__file__
    sys.stdout.flush()
    os._exit(int(code))  # threads of libraries must not keep this process alive


def _load_libraries() -> None:
    for name in LIBRARIES:
        with suppress(ImportError):  # the tests say what they need
            importlib.import_module(name)
    if "trl_gift" in sys.modules:
        raise RuntimeError("trl_gift is imported; mutants of it would not be seen.")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Applies mutants and says which of them a test notices.")
    parser.add_argument("-k", default="", metavar="TEXT", help="only mutants whose name, file or law holds this text")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once (default 1)")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="JSON Lines of results, read and continued")
    return parser.parse_args(arguments)


def killed_before(path: Path | None) -> set[tuple[str, str]]:
    """Names and tests of the mutants that a file of results calls killed."""
    if path is None or not path.exists():
        return set()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {(row["name"], row["test"]) for row in rows if row["result"] == KILLED}


def main(arguments: Sequence[str] | None = None, mutants: Sequence[Mutant] = MUTANTS) -> int:
    """Runs the command; returns the exit code."""
    options = _arguments(arguments)
    known = killed_before(options.resume)
    wanted = [
        one for one in mutants if any(options.k.lower() in text.lower() for text in (one.name, one.file, one.law))
    ]
    chosen = [one for one in wanted if (one.name, one.test) not in known]
    if not wanted:
        print(f"no mutant's name, file or law holds {options.k!r}.")
        return 1
    _load_libraries()
    started, others = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        places = [Workplace(Path(folder) / str(number)) for number in range(max(1, options.jobs))]
        if chosen:
            process = places[0].start(list(dict.fromkeys(one.test for one in chosen)))
            process.join()
            if process.exitcode != PASSED:
                print(f"{places[0].said()}\nthe tests do not pass on the unchanged package; no mutant was tried.")
                return 1
        print(f"unchanged: the tests of {len(chosen)} mutants pass in {time.monotonic() - started:.0f} s", flush=True)
        for one, result in attempts(chosen, places):
            mutant, seconds = one.mutant, time.monotonic() - one.began
            print(f"{result:8} {seconds:5.1f} s  {mutant.name} ({mutant.file})", flush=True)
            if result != KILLED:
                others.append(f"{result}: {mutant.name}: {mutant.breaks}; {mutant.test} should fail.")
                print(one.place.said() if result == BROKEN else others[-1], flush=True)
            if options.resume:
                row = {"name": mutant.name, "test": mutant.test, "result": result, "seconds": round(seconds, 1)}
                with options.resume.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    print(
        f"{len(wanted) - len(others)} of {len(wanted)} mutants killed in {time.monotonic() - started:.0f} s",
        *others,
        sep="\n",
    )
    return int(bool(others))


if __name__ == "__main__":
    sys.exit(main())
