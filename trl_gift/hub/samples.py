"""The samples dataset: every sample with its lineage as Parquet, what was selected from them, and the card.

    samples/round-N.parquet     the samples of a round, one per row
    selection/round-N.parquet   what was drawn from all samples so far to train in a round, by `sample_id`
    README.md                   the card, by whose metadata `load_dataset` finds both

An outcome is published as numbers, not as text: the messages of failed programs quote what a program printed or how an
object is shown, which on the machine that ran it may be a path.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_gift.hub.facts import RunFacts
from trl_gift.hub.files import CARD
from trl_gift.hub.samples_card import SamplesFacts, samples_card
from trl_gift.sampling.store import is_complete

if TYPE_CHECKING:
    import pyarrow

SAMPLES = "samples"
SELECTION = "selection"
PUBLISHED = {
    "sample_id": "name of the sample: round/task/step/index",
    "task_id": "the task",
    "round": "self-training round, from 1",
    "step": "step of the chain, from 0; the first is a plain sample from the task's own description",
    "index": "index among the samples of the step",
    "kind": "`chain` for what the sampler drew, `repair` for a failed program that was written again, `solution` for a "
    "teacher's program from the task alone",
    "parent": "`sample_id` of the program that `description` was read from, or of the one that was repaired; `reference` for the task's reference "
    "solution; null for the task's own description",
    "sampler": "how the programs were sampled; `gibbs` is the chain",
    "hint": "the hint that the prompt showed: `reference`, `failing_test`, `repair`, or null for none",
    "description": "the description that the program was written from",
    "description_tokens": "number of tokens sampled for that description and for those that were rejected before it",
    "description_tries": "number of descriptions drawn for the step; 0 if it starts from the task's own words",
    "description_leaks": "number of these that gave away the program that was read, or the reference",
    "read_reference": "whether the prompt goes back to the task's reference, by a description or a hint",
    "completion": "the text that the model wrote",
    "code": "the whole program; null where the completion contains none",
    "target": "the completion that gives `code`: what a model would be trained to write",
    "no_code_kind": "why the completion holds no program: the kind of the reason; null if it holds one",
    "no_code_reason": "the same in words",
    "token_ids": "the sampled tokens, end token included; empty where another model wrote the program",
    "teacher_tokens": "number of tokens that another model than the student wrote for it",
    "finish_reason": "`eos`, `stop` or `length`; `context` where the context of a server cut the completion",
    "logprob_sum": "log-probability of the tokens under the model that wrote them, in nats",
    "num_scored": "number of tokens in that sum",
    "perplexity": "exp(-logprob_sum / num_scored)",
    "status": "`passed`, `failed`, `error`, `timeout`, `memory`, `violation`, `syntax_error`; `no_code` "
    "where the completion contains no program, `copied` where a passing program equals a reference that its chain has read, "
    "`unverified` where the program was not run",
    "tests": "number of tests; null where nothing ran",
    "tests_passed": "number of tests that passed; tests after the first failure may not have run",
    "first_failure": "index of the first test that failed",
    "cpu_s": "CPU seconds that the program took",
    "isolation": "isolation layers under which the program ran",
    "trusted": "whether the verdict was decided where the program could not reach it",
    "continues": "whether the chain continued from this program",
    "prompt_hash": "hash of the prompt's token ids",
    "model_hash": "fingerprint of the trainable weights that wrote the program, the name of the teacher that did, or name and fingerprint of another model that sampled",
    "seed": "random seed of the run's sampling",
}
# `outcome` contains messages; `created` and `scored` describe the machine and the engine.
WITHHELD = {"outcome", "created", "scored"}
_OF_OUTCOME = {"tests": "int32", "tests_passed": "int32", "first_failure": "int32", "cpu_s": "float64",
               "isolation": "string", "trusted": "bool"}  # fmt: skip
_SELECTION_COLUMNS = {
    "sample_id": "the sample, in `samples`",
    "task_id": "the task that it was paired with",
    "selected_in": "the round that trained on it",
    "weight": "its probability in each draw",
    "count": "how often it was drawn; 0 for samples of the pool that were not drawn",
}
_BATCH = 4096


def complete_rounds(root: Path) -> list[Path]:
    """The folders of the rounds whose sampling has ended, in order."""
    folders: list[Path] = []
    while is_complete(folder := root / f"round-{len(folders) + 1}"):
        folders.append(folder)
    return folders


def lay_out_samples(
    folder: Path, rounds: Sequence[Path], write: Sequence[Path], facts: SamplesFacts, run: RunFacts
) -> None:
    """Lays out the dataset in `folder`.

    Args:
        folder: Made if absent.
        rounds: Folders of all rounds whose sampling is complete; the card counts them.
        write: Those of them whose files are laid out; the others are on the Hub already.
        facts: For the card.
        run: For the card.
    """
    import pyarrow.parquet

    for round_folder in write:
        target = folder / SAMPLES / f"{round_folder.name}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        with pyarrow.parquet.ParquetWriter(target, _samples_schema(round_folder)) as writer:
            for batch in _public_batches(round_folder):
                writer.write_table(batch)
        if (round_folder / "selection.parquet").exists():
            target = folder / SELECTION / f"{round_folder.name}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            pyarrow.parquet.write_table(_public_selection(round_folder), target)
    has_selection = any((round_folder / "selection.parquet").exists() for round_folder in rounds)
    counts = [_count(round_folder) for round_folder in rounds]
    card = samples_card(counts, facts, run, PUBLISHED, _SELECTION_COLUMNS if has_selection else None)
    card.save(folder / CARD)


def _samples_schema(round_folder: Path) -> pyarrow.Schema:
    import pyarrow
    import pyarrow.parquet

    recorded = pyarrow.parquet.read_schema(round_folder / "samples.parquet")
    return pyarrow.schema(
        [
            (name, pyarrow.type_for_alias(_OF_OUTCOME[name]) if name in _OF_OUTCOME else recorded.field(name).type)
            for name in PUBLISHED
        ]
    )


def _public_batches(round_folder: Path) -> Iterator[pyarrow.Table]:
    import pyarrow
    import pyarrow.parquet

    schema = _samples_schema(round_folder)
    with pyarrow.parquet.ParquetFile(round_folder / "samples.parquet") as file:
        for batch in file.iter_batches(batch_size=_BATCH):
            outcomes = [_public_outcome(text) for text in batch.column("outcome").to_pylist()]
            columns = {
                name: [outcome[name] for outcome in outcomes] if name in _OF_OUTCOME else batch.column(name)
                for name in PUBLISHED
            }
            yield pyarrow.table(columns, schema=schema)


def _public_outcome(text: str | None) -> dict[str, Any]:
    outcome = json.loads(text) if text else None
    if outcome is None:
        return dict.fromkeys(_OF_OUTCOME)
    results = outcome["results"]
    return {
        "tests": len(results),
        "tests_passed": sum(result["status"] == "passed" for result in results),
        **{name: outcome[name] for name in ("first_failure", "cpu_s", "isolation", "trusted")},
    }


def _public_selection(round_folder: Path) -> pyarrow.Table:
    import pyarrow
    import pyarrow.parquet

    table_ = pyarrow.parquet.read_table(
        round_folder / "selection.parquet", columns=["sample_id", "task_id", "weight", "count"]
    )
    number = int(round_folder.name.removeprefix("round-"))
    table_ = table_.append_column("selected_in", pyarrow.array([number] * len(table_), pyarrow.int32()))
    return table_.select(list(_SELECTION_COLUMNS))


def _count(round_folder: Path) -> Counter[str]:
    import pyarrow.parquet

    column = pyarrow.parquet.read_table(round_folder / "samples.parquet", columns=["status"]).column("status")
    return Counter(column.to_pylist())
