"""The error model of trl_gift, in one place.

- **Bad output of a model is data.** A completion without a program, a program that fails, loops or crashes, a description
  that says nothing: each is recorded with its status and never raises.
- **A mistake that the user can fix is a `UserError`**: `ConfigError` for options and models, `TaskError` for rows of a
  dataset, `ResumeError` for a run's folder. Its message is one line: the value seen, the reason, the fix. The command line
  prints that line and exits with 2.
- **Infrastructure that stays broken is a `StageUnavailable`**: the sandbox (`ExecutionUnavailable`) or a completion server
  (`GenerationUnavailable`). Single failures are retried; a single failed execution has the status `infrastructure` and
  counts neither as right nor as wrong. The samples so far are kept, and the run can be resumed. The command line exits
  with 1.
- **A machine that cannot isolate programs** raises `trl_gift.sandbox.IsolationUnavailable`, which names each missing layer
  and its fix. Nothing runs without isolation unless the user sets `isolation="none"`.
- **Bugs propagate.** No code catches exceptions that it does not name.
"""

from __future__ import annotations


class UserError(ValueError):
    """Bad input or a bad combination of options; one line with the value, the reason and the fix."""


class TaskError(UserError):
    """A row that is not a valid task; the message names file, line, field, value and fix."""


class ConfigError(UserError):
    """An option with a value that cannot work."""


class ResumeError(UserError):
    """A run's folder that cannot be continued, or would be overwritten."""


class StageUnavailable(RuntimeError):
    """A stage cannot continue, because the sandbox or a server is gone; the samples so far are kept."""
