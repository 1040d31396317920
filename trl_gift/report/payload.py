"""What the page's script reads: the chosen samples and attempts as one JSON text that is safe inside a script element.

Equal texts stand once. Each sample is a row of numbers and of places in the lists of texts; `FIELDS` names its columns for
the script. A program that was written in edits has them as hunks: the line, how many lines go there, the lines that come. The
text ends before `MOST_BYTES`: what does not fit is left out whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trl_gift.prompts.edits import Growth
from trl_gift.report.choice import Entry, cut, short_growth
from trl_gift.report.highlight import spans

MOST_BYTES = 4_300_000
_SHARE_OF_ATTEMPTS = 0.25
FIELDS = (
    "task", "round", "step", "index", "parent", "hint", "description", "program", "status", "message", "failedTest",
    "perplexity", "tokens", "continues", "draws", "edits",
)  # fmt: skip
ATTEMPT_FIELDS = ("task", "round", "index", "program", "status", "message", "failingTest", "edits")
# `<` would let a text end the script element or open a comment in it; the others are ends of lines to old scripts.
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPES = str.maketrans(_UNSAFE)


@dataclass(slots=True)
class Payload:
    """Fills up until `MOST_BYTES`.

    Attributes:
        language: Language of the programs.
        held: Number of samples that it holds, by round and outcome.
        attempts: Rows of attempts.
    """

    language: str
    most_samples: int
    held: Counter[tuple[int, str]] = field(default_factory=Counter)
    rows: list[list[Any]] = field(default_factory=list)
    attempts: list[list[Any]] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)
    _tasks: dict[str, int] = field(default_factory=dict)
    _texts: dict[str, int] = field(default_factory=dict)
    _programs: dict[str, int] = field(default_factory=dict)
    _spans: list[str] = field(default_factory=list)
    _growths: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _bytes: int = 0

    def add_samples(self, entries: Sequence[Entry]) -> bool:
        """Adds samples that belong together, all or none; says whether they fitted. Those that it holds are left as they are."""
        new = [entry for entry in entries if entry.sample_id not in self._ids]
        if len(self.rows) + len(new) > self.most_samples or self._bytes + sum(map(_size, new)) > MOST_BYTES:
            return False
        for entry in new:
            self._ids[entry.sample_id] = len(self.rows)
            self._keep(self.rows, self._row(entry))
            self.held[entry.round, entry.status] += 1
        return True

    def add_attempts(self, number: int, attempts: Iterable[Mapping[str, Any]]) -> int:
        """Adds evaluated completions of a round while a quarter of the bytes lasts; returns how many were left out."""
        missing = 0
        for attempt in attempts:
            program = attempt.get("code")
            text = cut((attempt.get("completion") if program is None else program) or "")
            if self._bytes + 2 * len(text) > _SHARE_OF_ATTEMPTS * MOST_BYTES:
                missing += 1
                continue
            status = attempt["status"] or ("passed" if attempt["passed"] else "failed")
            known = attempt["status"] is not None
            row = [self._task(attempt["task_id"]), number, attempt["index"], self._program(text) if known else -1]
            row += [
                status,
                self._text(cut(attempt.get("message") or "")),
                self._text(cut(attempt.get("failing_test") or "")),
                self._growth(short_growth(attempt.get("completion") or "")),
            ]
            self._keep(self.attempts, row)
        return missing

    def to_json(self, **more: Any) -> str:
        """The whole as one JSON object that may stand inside a script element."""
        content = {
            "fields": FIELDS,
            "attemptFields": ATTEMPT_FIELDS,
            "tasks": list(self._tasks),
            "texts": list(self._texts),
            "programs": list(self._programs),
            "spans": self._spans,
            "edits": list(self._growths),
            "samples": [[*row[:4], self._ids.get(row[4], row[4]), *row[5:]] for row in self.rows],
            "attempts": self.attempts,
            **more,
        }
        return safe_json(content)

    def _row(self, entry: Entry) -> list[Any]:
        return [
            self._task(entry.task_id),
            entry.round,
            entry.step,
            entry.index,
            entry.parent,  # its place in the list of samples, if the page holds it
            entry.hint,
            self._text(entry.description),
            self._program(entry.program),
            entry.status,
            self._text(entry.message),
            entry.failed_test,
            None if entry.perplexity is None else float(f"{entry.perplexity:.4g}"),
            entry.tokens,
            int(entry.continues),
            entry.draws,
            self._growth(entry.growth),
        ]

    def _keep(self, rows: list[list[Any]], row: list[Any]) -> None:
        rows.append(row)
        self._bytes += len(safe_json(row).encode("utf-8", "backslashreplace")) + 1

    def _task(self, name: str) -> int:
        return self._place(self._tasks, name)

    def _text(self, text: str) -> int:
        return self._place(self._texts, text)

    def _program(self, text: str) -> int:
        place = self._place(self._programs, text)
        if place == len(self._spans):
            self._spans.append(spans(text, self.language))
            self._bytes += len(self._spans[-1]) + 3
        return place

    def _growth(self, growth: Growth | None) -> int:
        """The place of a program's edits; -1 if it has none."""
        hunks = _hunks(growth)
        if not hunks:
            return -1
        if hunks not in self._growths:
            self._growths[hunks] = len(self._growths)
            self._bytes += _json_size(hunks) + 1
        return self._growths[hunks]

    def _place(self, places: dict[str, int], text: str) -> int:
        if text not in places:
            places[text] = len(places)
            self._bytes += _json_size(text) + 1
        return places[text]


def safe_json(content: Any) -> str:
    """JSON that may stand inside a script element, whatever the texts in it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)


def _hunks(growth: Growth | None) -> tuple[Any, ...]:
    """The edits of a program as the script reads them: of each hunk the line, how many lines go, and the lines that come."""
    edits = growth.edits if growth else ()
    return tuple(tuple((hunk.old, len(hunk.removed), hunk.added) for hunk in edit.hunks) for edit in edits)


def _size(entry: Entry) -> int:
    """An upper estimate of the bytes that an entry adds."""
    program = _json_size(entry.program)
    texts = _json_size(entry.description) + _json_size(entry.message) + _json_size(_hunks(entry.growth))
    return 2 * program + texts + len(entry.task_id) + 200


def _json_size(content: Any) -> int:
    return len(safe_json(content).encode("utf-8", "backslashreplace"))
