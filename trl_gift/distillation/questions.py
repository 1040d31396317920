"""What a chat endpoint is asked: two templates, in files that a user may replace.

    solve.txt      asks for a program of a task
    repair.txt     shows a wrong program with its failure, and asks for a right one

The templates are Jinja2. They know `task` (the question that a chat model of our own is asked for this task), `description`,
`signature`, `examples`, `language`, `reference` (None unless the teacher may see it) and, for a repair, `code` and `feedback`.
The filter `fenced` puts a program into a code block, `quoted` any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from trl_gift.errors import ConfigError
from trl_gift.prompts import Hint, Pinned, ask_to_write, fenced, quoted
from trl_gift.sandbox.languages import naming
from trl_gift.tasks import Task

SOLVE, REPAIR = "solve.txt", "repair.txt"


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a run.

    Attributes:
        templates: The text of each template by its file's name.
        pinned: What prompts show of a task besides its description.
        shows_reference: Whether the teacher sees the reference.
    """

    templates: Mapping[str, str]
    pinned: Pinned
    shows_reference: bool = False

    def text(self, task: Task, description: str, hint: Hint | None) -> str:
        """The question for a task.

        Args:
            task: The task.
            description: Its description.
            hint: A wrong program with its failure; None to ask for a program of the task.

        Raises:
            ConfigError: if a template cannot be rendered.
        """
        signature, examples = self.pinned.signature(task), self.pinned.examples(task)
        values: dict[str, Any] = {
            "task": ask_to_write(signature, description, examples, task.language, task.opening),
            "description": description,
            "signature": signature,
            "examples": examples,
            "language": naming(task.language).title,
            "reference": task.reference if self.shows_reference else None,
        }
        if hint is not None:
            values |= {"code": hint.code, "feedback": hint.text}
        name = SOLVE if hint is None else REPAIR
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # plain text, which nothing escapes
        environment.filters = {
            **environment.filters,
            "quoted": quoted,
            "fenced": lambda code: fenced(code, task.language),
        }
        try:
            return environment.from_string(self.templates[name]).render(values).strip()
        except jinja2.TemplateError as error:
            raise ConfigError(
                f"teacher_questions: {name} cannot be rendered ({error}); see docs/distillation.md for what it may use."
            ) from error


def load_questions(folder: str | Path | None, pinned: Pinned, shows_reference: bool) -> Questions:
    """The questions in a folder; those of the package for files that it does not hold, or if none is given.

    Args:
        folder: A folder with `solve.txt`, `repair.txt` or both.
        pinned: As in `Questions`.
        shows_reference: As in `Questions`.

    Raises:
        ConfigError: if the folder holds neither file.
    """
    own = files("trl_gift.distillation").joinpath("templates")
    found = {name: own.joinpath(name).read_text(encoding="utf-8") for name in (SOLVE, REPAIR)}
    if folder is not None:
        given = {name: Path(folder) / name for name in found if (Path(folder) / name).is_file()}
        if not given:
            raise ConfigError(
                f"teacher_questions={str(folder)!r} holds neither {SOLVE!r} nor {REPAIR!r}; give a folder with one of them."
            )
        found |= {name: path.read_text(encoding="utf-8") for name, path in given.items()}
    return Questions(found, pinned, shows_reference)
