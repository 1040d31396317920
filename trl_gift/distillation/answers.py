"""What an endpoint has answered, on disk by request, so that nothing is paid for twice.

Each process appends to a file of its own, one answer a line, as soon as it arrives. A killed process leaves at most one torn
line, which is passed over. A request is known by a hash of its content; keys and addresses are not part of it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

ANSWERS = "answers-*.jsonl"
"""The files of a folder of answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint has answered.

    Attributes:
        text: The text of the answer.
        finish_reason: Why it ended, in the endpoint's word: `"stop"`, `"length"` and others.
        prompt_tokens: Tokens that the endpoint counted for the question.
        completion_tokens: Tokens that it counted for the answer, thoughts included.
        cost: What it cost, in the currency of the prices; 0 where no prices are given.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost: float = 0.0


class Answers:
    """The answers in a folder, read once and appended to.

    Args:
        folder: The folder; made when the first answer is kept.

    Attributes:
        cost: What all answers in the folder have cost.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Answer] = {}
        self._file: TextIO | None = None
        self.cost = 0.0
        for path in sorted(folder.glob(ANSWERS)):
            for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last line break is torn
                record = json.loads(line)
                self._known.setdefault(record["request_hash"], Answer(**record["answer"]))
                self.cost += record["answer"]["cost"]

    def find(self, request: Mapping[str, Any]) -> Answer | None:
        """The answer to this very request, if there is one."""
        return self._known.get(_hash(request))

    def keep(self, request: Mapping[str, Any], answer: Answer) -> None:
        """Writes an answer; it survives the death of this process once this returns."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            # A name of its own: a torn line of a process that was killed must not be continued.
            self._file = (self._folder / f"answers-{secrets.token_hex(4)}.jsonl").open("a", encoding="utf-8")
        key = _hash(request)
        record = {"request_hash": key, "request": dict(request), "answer": asdict(answer)}
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._file.flush()
        self._known[key] = answer
        self.cost += answer.cost

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _hash(request: Mapping[str, Any]) -> str:
    text = json.dumps(request, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
