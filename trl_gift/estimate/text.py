"""An estimate as a table to read."""

from __future__ import annotations

from collections.abc import Iterable

from trl_gift.common.words import plural
from trl_gift.estimate.device import GIB, Device
from trl_gift.estimate.memory import UNCERTAINTY
from trl_gift.estimate.run import Hours, RunEstimate

_WIDTH = 34


def estimate_text(estimate: RunEstimate) -> str:
    """The table that `trl-gift estimate` and `trl-gift train --dry-run` print."""
    return "\n".join([
        f"{estimate.model}: {_count(estimate.parameters)} parameters, {_count(estimate.trained_parameters)} trained",
        f"{plural(estimate.num_tasks, 'task')}, {plural(estimate.rounds, 'round')}",
        "",
        *_work(estimate),
        "",
        *_hours(estimate),
        "",
        *_memory(estimate),
        "",
        *_disk(estimate),
        "",
        f"lengths {estimate.lengths.source}",
        *(f"note: {note}" for note in estimate.notes),
    ])  # fmt: skip


def _work(estimate: RunEstimate) -> Iterable[str]:
    sampling, training, evaluation, lengths = (
        estimate.sampling, estimate.training, estimate.evaluation, estimate.lengths,
    )  # fmt: skip
    a_round = {
        f"programs of {lengths.program:.0f} tokens": sampling.programs,
        f"descriptions of {lengths.description:.0f} tokens": sampling.descriptions,
        "tokens sampled": sampling.completion_tokens,
        "tokens of prompts": sampling.prompt_tokens,
        "programs to execute, at most": sampling.executions,
        "training pairs, at most": training.pairs,
        "optimizer steps, at most": training.steps,
        "tokens trained, at most": training.tokens,
    }
    if estimate.repairs is not None:
        a_round["repairs, at most"] = estimate.repairs.programs
        a_round["tokens of repairs, at most"] = estimate.repairs.completion_tokens
    yield _row("", "a round", "the run")
    yield from (_row(label, _count(amount), _count(estimate.rounds * amount)) for label, amount in a_round.items())
    if estimate.evaluations:
        yield _row("", "each", f"all {estimate.evaluations}")
        each = {
            "evaluation, programs": evaluation.programs,
            "evaluation, tokens sampled": evaluation.completion_tokens,
        }
        yield from (
            _row(label, _count(amount), _count(estimate.evaluations * amount)) for label, amount in each.items()
        )


def _hours(estimate: RunEstimate) -> Iterable[str]:
    hours = estimate.hours
    if hours is None:
        yield "time: not known without a calibration run"
        return
    yield "time of the run on this machine"
    yield from _hour_rows(hours)
    measured = estimate.calibration
    if measured is not None:
        yield (
            f"  measured: {measured.tokens_per_s:,.0f} tokens/s sampled, "
            + (f"{measured.training_tokens_per_s:,.0f} tokens/s trained, " if measured.training_tokens_per_s else "")
            + (f"{1000 * measured.execution_s:,.0f} ms a program, " if measured.execution_s is not None else "")
            + (f"{measured.passed:.0%} passed " if measured.passed is not None else "nothing executed ")
            + f"({measured.seconds:.0f} s)"
        )


def _hour_rows(hours: Hours) -> Iterable[str]:
    yield _row("generation", _time(hours.generation))
    yield _row("execution (beside generation)", _time(hours.execution))
    if hours.repairs:
        yield _row("repairs, at most", _time(hours.repairs))
    yield _row("training, at most", _time(hours.training))
    yield _row("evaluation", _time(hours.evaluation))
    yield _row("all", _time(hours.total))


def _memory(estimate: RunEstimate) -> Iterable[str]:
    device = estimate.device
    yield f"memory: {device.name}, {device.memory / GIB:.1f} GiB, of which a run can use {device.usable / GIB:.1f} GiB"
    yield f"(may be off by {UNCERTAINTY:.0%})"
    for name, stage in (("sampling", estimate.sampling_memory), ("training", estimate.training_memory)):
        yield _row(f"{name}, peak", _size(stage.peak), _verdict(stage.peak, device))
        yield from (_row(f"  {item}", _size(size)) for item, size in stage.items.items())
    if device.kind == "gpu":
        yield _row("RAM besides", _size(estimate.host_memory))
    if estimate.changes:
        fits = estimate.changes[-1].fits
        yield f"  {'these options make it fit' if fits else 'no option makes it fit; these come closest'}, step by step:"
        for change in estimate.changes:
            peaks = f"sampling {_size(change.sampling)}, training {_size(change.training)}"
            verdict = _verdict(max(change.sampling, change.training), device)
            yield f"    {change.options}: {peaks}{f' ({verdict})' if change.fits else ''}"


def _verdict(peak: float, device: Device) -> str:
    if peak > device.usable:
        return "DOES NOT FIT"
    return "fits" if peak * (1 + UNCERTAINTY) <= device.usable else "fits, just"


def _disk(estimate: RunEstimate) -> Iterable[str]:
    disk = estimate.disk
    yield "disk"
    yield _row("samples", _size(disk.samples))
    yield _row(f"{plural(disk.checkpoints, 'checkpoint')}, at most", _size(disk.checkpoint * disk.checkpoints))
    yield _row("final model", _size(disk.final))
    yield _row("all", _size(disk.total))


def _row(label: str, *cells: str) -> str:
    return f"  {label:<{_WIDTH}}" + "".join(f"{cell:>14}" for cell in cells)


def _count(number: float) -> str:
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e3 if unit == 'k' else limit):.3g}{unit}"
    return f"{number:,.0f}"


def _size(size: float) -> str:
    for limit, unit in ((GIB, "GiB"), (2**20, "MiB")):
        if size >= limit:
            return f"{size / limit:.1f} {unit}"
    return f"{size / 1024:.0f} KiB"


def _time(hours: float | None) -> str:
    if hours is None:
        return "not known"
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    if hours < 1:
        return f"{60 * hours:.0f} min"
    return f"{hours:.1f} h"
