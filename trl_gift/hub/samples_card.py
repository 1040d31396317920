"""The card of the samples dataset; the text is the template `templates/samples_card.md`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from trl_gift.hub.cards import render
from trl_gift.hub.facts import RunFacts
from trl_gift.run.methods import method_of, whose_programs

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)


@dataclass(frozen=True, slots=True)
class SamplesFacts:
    """What the dataset card says besides what the files hold.

    Attributes:
        repo_id: The dataset's repository.
        model_repo: The repository of the model that was trained on them.
        base_model: The Hub's name of the model that sampling began with; None for a local one.
        dataset: The Hub's name of the dataset that the tasks come from, or None.
    """

    repo_id: str
    model_repo: str
    base_model: str | None
    dataset: str | None


def samples_card(
    counts: Sequence[Counter[str]],
    facts: SamplesFacts,
    run: RunFacts,
    columns: Mapping[str, str],
    selection_columns: Mapping[str, str] | None,
) -> DatasetCard:
    """The card of the dataset.

    Args:
        counts: Number of samples of each status, for each round.
        facts: Names.
        run: What the run has recorded.
        columns: Meaning of each column of the samples.
        selection_columns: The same of the selection; None if nothing has been selected yet.
    """
    name = facts.repo_id.rpartition("/")[2]
    total = sum(count.total() for count in counts)
    statuses = sorted(
        {status for count in counts for status in count}, key=lambda status: (status != "passed", status)
    )
    configs = [_config("samples", default=True), _config("selection")]
    # No licence: that of the texts follows from the tasks and the model, and is for their owners to state.
    data = DatasetCardData(
        pretty_name=name,
        task_categories=["text-generation"],
        tags=["code", "self-training", "synthetic", "trl-gift"],
        size_categories=[next((size for bound, size in _SIZES if total < bound), "n>10M")],
        source_datasets=[facts.dataset] if facts.dataset else None,
        configs=configs if selection_columns else configs[:1],
    )
    text = render(
        "samples_card.md",
        card_data=data.to_yaml(),
        name=name,
        facts=facts,
        run=run,
        options=run.options,
        method=method_of(str(run.options["sampler"]), run.drawn_by),
        whose=whose_programs(run.options, run.drawn_by),
        counts=counts,
        statuses=statuses,
        total=total,
        passed=sum(count["passed"] for count in counts),
        columns=columns,
        selection_columns=selection_columns,
    )
    return DatasetCard(text)


def _config(name: str, default: bool = False) -> dict[str, Any]:
    files = [{"split": "train", "path": f"{name}/*.parquet"}]
    return {"config_name": name, **({"default": True} if default else {}), "data_files": files}
