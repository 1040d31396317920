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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import REPOSITORY, Mutant

COPIED = ("trl_gift", "tests", "pyproject.toml", "docs", "examples", "tools", "benchmarks", "README.md", "Makefile")
LIBRARIES = (
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "pyarrow.parquet", "scipy.stats", "hypothesis",
    "numpy", "yaml", "jinja2", "tokenizers", "trl.trainer.sft_trainer", "transformers.trainer",
)  # fmt: skip
KILLED, SURVIVED, BROKEN = "killed", "SURVIVED", "ERROR"
PASSED, FAILED = 0, 1  # exit codes of pytest
LONGEST_S = 600.0
_FORK = multiprocessing.get_context("fork")


class Workplace:
    """A copy of the package and of its tests.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source, target = REPOSITORY / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "site"))
            else:
                shutil.copy(source, target)
        # A mutant differs from what was compiled in its time of change, so it is compiled anew, each time.
        compileall.compile_dir(folder / "trl_gift", quiet=2)

    def try_mutant(self, mutant: Mutant) -> tuple[str, str]:
        """The result of one mutant, and the end of what its test said."""
        path = self.folder / mutant.file
        source = path.read_text(encoding="utf-8")
        try:
            path.write_text(mutant.applied(source), encoding="utf-8")
            code, said = self.run_tests([mutant.test])
        finally:
            path.write_text(source, encoding="utf-8")
        return {FAILED: KILLED, PASSED: SURVIVED}.get(code, BROKEN), said

    def run_tests(self, nodes: Sequence[str]) -> tuple[int, str]:
        """Runs tests of the copy, and returns the exit code of pytest and the end of its output."""
        output = self.folder / "output.txt"
        process = _FORK.Process(target=_test, args=(self.folder, list(nodes), output))
        process.start()
        process.join(LONGEST_S)
        if process.is_alive():
            process.kill()
            process.join()
        said = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
        return process.exitcode if process.exitcode is not None else -1, said[-4000:]


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
    """Names and new texts of the mutants that a file of results calls killed."""
    if path is None or not path.exists():
        return set()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {(row["name"], row["test"]) for row in rows if row["result"] == KILLED}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    options = _arguments(arguments)
    known = killed_before(options.resume)
    wanted = [
        one for one in MUTANTS if any(options.k.lower() in text.lower() for text in (one.name, one.file, one.law))
    ]
    chosen = [one for one in wanted if (one.name, one.test) not in known]
    if not wanted:
        print(f"no mutant's name, file or law holds {options.k!r}.")
        return 1
    _load_libraries()
    started, results = time.monotonic(), dict.fromkeys((one.name for one in wanted if one not in chosen), KILLED)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        places: SimpleQueue[Workplace] = SimpleQueue()
        workplaces = [Workplace(Path(folder) / str(number)) for number in range(max(1, options.jobs))]
        code, said = (
            workplaces[0].run_tests(list(dict.fromkeys(one.test for one in chosen))) if chosen else (PASSED, "")
        )
        if code != PASSED:
            print(f"{said}\nthe tests do not pass on the unchanged package (exit code {code}); no mutant was tried.")
            return 1
        print(f"unchanged: the tests of {len(chosen)} mutants pass in {time.monotonic() - started:.0f} s", flush=True)
        for place in workplaces:
            places.put(place)

        def attempt(mutant: Mutant) -> None:
            place, began = places.get(), time.monotonic()
            result, said = place.try_mutant(mutant)
            places.put(place)
            results[mutant.name] = result
            seconds = time.monotonic() - began
            print(f"{result:8} {seconds:5.1f} s  {mutant.name} ({mutant.file})", flush=True)
            if result != KILLED:
                print(
                    f"         {mutant.breaks}; noticed by {mutant.test}?\n{said if result == BROKEN else ''}",
                    flush=True,
                )
            if options.resume:
                row = {"name": mutant.name, "test": mutant.test, "result": result, "seconds": round(seconds, 1)}
                with options.resume.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")

        with ThreadPoolExecutor(len(workplaces)) as pool:
            list(pool.map(attempt, chosen))
    others = [name for name, result in results.items() if result != KILLED]
    print(f"{len(results) - len(others)} of {len(results)} mutants killed in {time.monotonic() - started:.0f} s")
    for name in others:
        print(f"{results[name]}: {name}")
    return int(bool(others))


if __name__ == "__main__":
    sys.exit(main())
