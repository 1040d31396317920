"""`results.jsonl`: one line for each finished arm and seed, appended whole by whichever process has finished it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.plan import Arm, Plan


class Results:
    """The finished arms of a plan; lines of other plans in the same file are left out.

    Args:
        folder: The folder of the file; made if it does not exist.
        plan: The plan.

    Attributes:
        plan: The plan.
        records: The lines, by world, arm and seed.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self.plan = folder / "results.jsonl", plan
        self.records: dict[tuple[str, str, int], dict[str, Any]] = {}
        digests = {(arm.world, arm.name): plan.digest(arm) for arm in plan.arms}
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else ():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # a kill has torn it; its arm runs again
            if digests.get((record["world"], record["arm"])) == record["digest"]:
                self.records[record["world"], record["arm"], record["seed"]] = record

    def has(self, arm: Arm, seed: int) -> bool:
        """Whether an arm is done with a seed."""
        return (arm.world, arm.name, seed) in self.records

    def add(self, record: dict[str, Any]) -> None:
        """Appends a finished arm."""
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            torn = file.tell() > 0 and not self._ends_with_newline()
            file.write(b"\n" * torn + json.dumps(record).encode() + b"\n")
        self.records[record["world"], record["arm"], record["seed"]] = record

    def of(self, world: str, arm: str) -> dict[int, dict[str, Any]]:
        """The lines of an arm, by seed."""
        return {seed: record for (w, a, seed), record in sorted(self.records.items()) if (w, a) == (world, arm)}

    def pairs(self, world: str, arm: str, other: str, name: str) -> tuple[list[float], list[float]]:
        """A figure of two arms, for the seeds that both have."""
        first, second = self.of(world, arm), self.of(world, other)
        shared: Sequence[int] = sorted(first.keys() & second.keys())
        return [first[seed][name] for seed in shared], [second[seed][name] for seed in shared]

    def _ends_with_newline(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, 2)
            return file.read() == b"\n"
