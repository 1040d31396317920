"""What a run says and logs in the terminal: lines in the words of its command, and a short line for each loss.

The trainer has a line of its own for each round and each table; trackers and `trainer.state.log_history` get every figure.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from trl_gift.common.bars import LINES, draws_bars
from trl_gift.common.words import plural
from trl_gift.run.wording import Wording
from trl_gift.trainer import GiFTTrainer


class CommandTrainer(GiFTTrainer):
    """A trainer that speaks as the command does which has made it; the command says itself what can follow.

    Args:
        wording: How it speaks, from its first line on.
        results: Where the table at the end goes; standard error if None.
        arguments: Those of `GiFTTrainer`.
    """

    says_what_follows = False

    def __init__(self, wording: Wording, results: TextIO | None, **arguments: Any) -> None:
        self.wording, self.results = wording, results
        super().__init__(**arguments)


def quieten_logs(trainer: GiFTTrainer, losses: bool = True) -> None:
    """Takes the dictionaries away; the bar of the training stays, if there is one.

    Args:
        trainer: The trainer.
        losses: Whether a line says each loss.
    """
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback):
        trainer.add_callback(_Bars() if draws_bars() else _PlainBars())
    if losses:
        trainer.add_callback(_Losses())


class _Bars(ProgressCallback):  # type: ignore[misc]
    """The bar of the training without what it writes at each log."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        pass


class _PlainBars(TrainerCallback):  # type: ignore[misc]
    """The bar of the training as lines of a log."""

    _start = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._start = state.global_step  # the steps of all rounds are counted on

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        done, total = state.global_step - self._start, state.max_steps - self._start
        if state.is_world_process_zero and LINES * done // total > LINES * (done - 1) // total:
            print(f"training: {done:,} of {plural(total, 'step')}", file=sys.stderr, flush=True)


class _Losses(TrainerCallback):  # type: ignore[misc]
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs and "loss" in logs:
            parts = [f"step {state.global_step}: loss {float(logs['loss']):.4g}"]
            parts += [f"learning rate {float(logs['learning_rate']):.2g}"] if "learning_rate" in logs else []
            parts += [f"epoch {float(logs['epoch']):.2f}"] if "epoch" in logs else []
            tqdm.write(", ".join(parts), file=sys.stderr)
