"""What a run does next, read from what it has left on disk.

A round is sampled, then trained, then measured. `samples.parquet` says that the round is sampled. A checkpoint of its last
step says that it is trained, or `untrained.json` where the round had no training pairs. `metrics.json` says that it is
measured. The trainer and the launcher ask the same function, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trl_gift.run.folder import RunFolder
from trl_gift.sampling.store import is_complete
from trl_gift.training.rounds import RoundCheckpoint


class Stage(StrEnum):
    """The next stage of a run."""

    SAMPLE = "sample"
    TRAIN = "train"
    MEASURE = "measure"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class NextStep:
    """The first thing that a run has not done yet.

    Attributes:
        round: The first round that is not measured, from 1.
        stage: The stage of that round that comes next; `DONE` if the run has no such round.
    """

    round: int
    stage: Stage


def next_step(run: RunFolder, checkpoint: RoundCheckpoint | None, num_rounds: int) -> NextStep:
    """The round and stage that come next.

    Args:
        run: The run's folder.
        checkpoint: The checkpoint that the run continues from; None if it has none.
        num_rounds: Number of rounds of the run.
    """
    round_index = run.num_measured_rounds + 1
    if round_index > num_rounds:
        return NextStep(round_index, Stage.DONE)
    if not is_complete(run.round(round_index)):
        return NextStep(round_index, Stage.SAMPLE)
    if run.has(f"round-{round_index}/untrained.json") or (checkpoint and checkpoint.is_end_of(round_index)):
        return NextStep(round_index, Stage.MEASURE)
    return NextStep(round_index, Stage.TRAIN)
