"""The model card: everything that the run's records say, and nothing that they do not.

The text is the template `templates/model_card.md`. From the card that TRL has written, two things are kept, because only
TRL knows them: its tags, and the badges that link to trackers.

Greedy pass@1 and sampled pass@k of the final round are evaluation results in the card's metadata too
(`model-index`), if they were measured on a dataset of the Hub: a figure for a dataset without a name can be compared with
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from trl_gift.hub.cards import percent, points, render
from trl_gift.hub.facts import Gain, Measured, ModelFacts, RunFacts
from trl_gift.run.methods import method_of

_TAGS = ("code", "self-training", "trl-gift")


@dataclass(frozen=True, slots=True)
class Results:
    """The table of results.

    Attributes:
        columns: Titles of all columns but the first.
        rows: Cells by row; the first is the row's title.
        gain: The final round's gain over the base model; None if there is none.
        has_sampled: Whether figures of sampled programs are among them.
    """

    columns: list[str]
    rows: list[list[str]]
    gain: Gain | None
    has_sampled: bool


def model_card(trl_card: ModelCard, model: ModelFacts, run: RunFacts | None) -> ModelCard:
    """The card of a run's model.

    Args:
        trl_card: The card that TRL has written.
        model: What is known about the model.
        run: What the run has recorded; None before it has started.
    """
    text = render(
        "model_card.md",
        card_data=_card_data(trl_card, model, run).to_yaml(),
        tracker_badges=[line.strip() for line in trl_card.text.splitlines() if line.startswith("[<img ")],
        model=model,
        run=run,
        options=run.options if run else {},
        method=method_of(str(run.options["sampler"]), run.drawn_by) if run else None,
        results=_results(run.measured, run.final) if run and run.measured else None,
        others={name: _results(measured, None) for name, measured in run.other_sets.items()} if run else {},
    )
    return ModelCard(text)


def _card_data(trl_card: ModelCard, model: ModelFacts, run: RunFacts | None) -> ModelCardData:
    tags = {
        tag for tag in trl_card.data.get("tags") or () if not tag.startswith("base_model:")
    }  # it may be a local path
    tags |= {*_TAGS, *(["lora"] if model.is_lora else [])}
    licence: dict[str, Any] = dict(model.licence)
    return ModelCardData(
        **licence,
        base_model=model.base_model,
        datasets=[name for name in (model.dataset, model.samples_repo) if name] or None,
        library_name="peft" if model.adapter else "transformers",
        pipeline_tag="text-generation",
        model_name=model.name,
        tags=sorted(tags),
        eval_results=_eval_results(model, run) or None,
    )


def _eval_results(model: ModelFacts, run: RunFacts | None) -> list[EvalResult]:
    # The base model's figures are not this model's.
    if run is None or not run.rounds or not run.rounds[-1].metrics or not model.eval_dataset or run.final is None:
        return []
    last = run.final
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Code generation",
            dataset_type=model.eval_dataset,
            dataset_name=model.eval_dataset.rpartition("/")[2],
            metric_type=name.removeprefix("sampled_"),
            metric_name=_title(name),
            metric_value=round(last.metrics[name], 4),
        )
        for name in last.measures
    ]


def _results(measured: Sequence[Measured], final: Measured | None) -> Results:
    names = measured[-1].measures
    has_gain = any(item.gain for item in measured)
    rows = []
    for item in measured:
        row = [item.title, *(_with_interval(item, name) for name in names)]
        if has_gain:
            gain = item.gain
            row.append(f"{points(gain.value)} [{points(gain.low)}, {points(gain.high)}]" if gain else "")
        rows.append(row)
    return Results(
        columns=[_title(name) for name in names] + ["gain in greedy pass@1 over base, points"] * has_gain,
        rows=rows,
        gain=final.gain if final else None,
        has_sampled=any(name.startswith("sampled") for name in names),
    )


def _title(name: str) -> str:
    return "greedy pass@1" if name == "pass@1" else name.replace("sampled_", "sampled ")


def _with_interval(item: Measured, name: str) -> str:
    if name not in item.metrics:
        return ""
    low, high = item.metrics[f"{name}_low"], item.metrics[f"{name}_high"]
    return f"{percent(item.metrics[name])} [{percent(low)}, {percent(high)}]"
