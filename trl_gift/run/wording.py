"""How a run speaks to its user: as Python does, or as the command that has started it.

The lines of a run name options and what to do next. A command has its own spelling of the options, perhaps only some of
them, and can print commands that work as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """How a run speaks to its user.

    Attributes:
        phrase: Puts options in a line as the user gives them: `num_steps=5`, or `--steps 5`.
        offered: Names of the options that the user can give; None for all of `GiFTConfig`.
        dry_run: The command that says what the run takes; None if there is none.
        validate: The command that looks closer at the training tasks; None if there is none.
    """

    phrase: Callable[[str], str] = str
    offered: Collection[str] | None = None
    dry_run: str | None = None
    validate: str | None = None

    def offers(self, option: str) -> bool:
        """Whether the user can give an option, by its name in `GiFTConfig`."""
        return self.offered is None or option in self.offered


AS_PYTHON = Wording()
"""How a run speaks to a user of the trainer."""
