"""The end of a run in words: the table of its rounds, one sentence, and a line for each thing that went wrong.

All figures are read from the records of the run (`base.json` and each `metrics.json`), so a finished run can be summed up
again at any time.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from trl_gift.common.words import agree, plural
from trl_gift.evaluation import paired_difference
from trl_gift.prompts.edits import MALFORMED_EDITS
from trl_gift.run.sets import of_set, views
from trl_gift.run.wording import AS_PYTHON, Wording
from trl_gift.sampling.stopped import BUDGET, MAX_COST

Record = Mapping[str, Any]
NO_OPTIONS: Record = MappingProxyType({})
_MOST_NO_CODE = 0.2
_FEW_EDITS = 0.5
_LABEL = 12
_NAMES_SHOWN = 5


def best_round(rounds: Sequence[Record]) -> int | None:
    """The round with the highest greedy pass@1, of equal ones the latest; None if no round was measured."""
    measured = [item for item in rounds if "pass@1" in item.get("metrics", {})]
    if not measured:
        return None
    return int(max(measured, key=lambda item: (item["metrics"]["pass@1"], item["round"]))["round"])


def run_text(
    base: Record | None,
    rounds: Sequence[Record],
    kept: int | None = None,
    options: Record = NO_OPTIONS,
    left_out: Sequence[str] = (),
    wording: Wording = AS_PYTHON,
) -> str:
    """The table, the sentence and the lines, one after the other. Further sets of tasks have a table and a sentence each.

    Args:
        base: Content of `base.json`; None if nothing was measured.
        rounds: Content of each `metrics.json`.
        kept: The round whose weights the model has; None for the last.
        options: The options of the run.
        left_out: Names of the training tasks that were too long for the model.
        wording: Says which options the advice may name.
    """
    parts, verified = [], bool(options.get("verify", True))
    for place, (name, view, records) in enumerate(views(base, rounds)):
        parts.append(table(view, records, kept, verified, measures_only=place > 0))
        parts.append(f"{name}: {sentence(records, kept)}" if name else sentence(records, kept))
    troubles = [*troubles_of(rounds, options, wording), *left_out_lines(base, left_out)]
    return "\n\n".join(part for part in (*parts, "\n".join(troubles)) if part)


def table(
    base: Record | None,
    rounds: Sequence[Record],
    kept: int | None = None,
    verified: bool = True,
    measures_only: bool = False,
) -> str:
    """One line for the base model and for each round; the round of the final model has a star.

    Args:
        base: Content of `base.json`; None if nothing was measured.
        rounds: Content of each `metrics.json`.
        kept: The round whose weights the model has; None for the last.
        verified: Whether the run executed its samples.
        measures_only: Whether to leave out the columns about the samples.
    """
    measured = base is not None
    titles = [_set_of(base), *(["pass@1", "gain over base"] if measured else [])]
    titles += [] if measures_only else ["tasks solved", "programs passed", "distinct"]
    rows = [["base", _pass_at_1(base["metrics"]), *[""] * (len(titles) - 2)]] if base is not None else []
    kept = kept or (rounds[-1]["round"] if rounds else None)
    for item in rounds:
        cells = [f"round {item['round']}{' *' if item['round'] == kept and len(rounds) > 1 else ''}"]
        if measured:
            gain = item.get("gain")
            cells += [_pass_at_1(item.get("metrics", {})), _gain(gain) if gain else ""]
        cells += (
            []
            if measures_only
            else [
                f"{item['solved_tasks']} of {item['tasks']}" if verified else "not run",
                f"{item['passed']} of {item['samples']}" if verified else "not run",
                f"{item['distinct_programs']}",
            ]
        )
        rows.append(cells)
    widths = [max(_LABEL, *(len(row[column]) for row in [titles, *rows])) for column in range(len(titles))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [titles, *rows]]
    if len(rounds) > 1 and kept is not None and not measures_only:
        best = "" if kept == rounds[-1]["round"] else ", the best measured round"
        lines.append(f"* the final model{best}{f' on {_set_of(base)}' if best and _set_of(base) else ''}")
    return "\n".join(line.rstrip() for line in lines)


def sentence(rounds: Sequence[Record], kept: int | None = None) -> str:
    """What the run has shown, in one sentence; empty if nothing was measured."""
    final = next((item for item in rounds if item["round"] == kept), rounds[-1] if rounds else {})
    gain = final.get("gain")
    if not gain:
        return ""
    if gain["low"] > 0:
        return (
            "The model solves more held-out tasks than before: the interval of the paired difference lies above zero."
        )
    if gain["high"] < 0:
        return (
            "The model solves fewer held-out tasks than before: the interval of the paired difference lies below zero."
        )
    return "No gain is shown: the 95 % interval of the paired difference reaches zero."


def troubles_of(rounds: Sequence[Record], options: Record = NO_OPTIONS, wording: Wording = AS_PYTHON) -> list[str]:
    """A line for each thing that went wrong, with its likely causes, as far as the user has options for them.

    Args:
        rounds: Content of each `metrics.json`.
        options: The options of the run; a line advises nothing that they forbid, or that they have already.
        wording: Says which options the advice may name.
    """
    lines = []
    verified = bool(options.get("verify", True))
    larger = "max_tokens_per_round" if rounds and rounds[-1].get("max_tokens") else "num_steps"
    for before, item in zip([None, *rounds], rounds, strict=False):
        name = f"round {item['round']}"
        if item["samples"] and item["no_code"] > _MOST_NO_CODE * item["samples"]:
            counts = item.get("no_code_kinds", {})
            kinds = ", ".join(f"{kind} {count}" for kind, count in counts.items())
            # Who writes edits has understood the prompt, and a round's samples are those of the model before its training.
            causes: list[tuple[str | None, str]] = [("max_completion_length", "max_completion_length is too small")]
            if counts.get(MALFORMED_EDITS, 0) <= item["no_code"] / 2:
                causes.append(("prompt_format", "prompt_format does not suit the model"))
            elif before:
                causes.append((None, "too few optimizer steps"))
            lines.append(
                f"{name}: {item['no_code'] / item['samples']:.0%} of the completions hold no program"
                f"{f' ({kinds})' if kinds else ''}." + _causes(wording, *causes)
            )
        if verified and item["samples"] and not item["passed"]:
            lines.append(
                f"{name}: no program passed."
                + _causes(
                    wording,
                    (None, "the tasks are too hard for the model"),
                    (larger, f"{larger} is too small"),
                    *_too_hot(options),
                )
            )
        if item.get("repairs") and not item["repaired"]:
            lines.append(_nothing_repaired(name, item, options, wording))
        if options.get("target_format") == "edits" and "pass@1" in (metrics := item.get("metrics", {})):
            share = metrics.get("edits", 0.0)
            if share < _FEW_EDITS:
                learned = "has learned to write them for some tasks only" if share else "has not learned to write them"
                # A model that training has spoilt needs no higher learning rate, as its own line says.
                spoilt = (item.get("gain") or {"high": 0})["high"] < 0
                lines.append(
                    f"{name}: {share:.0%} of the measured answers are edits, so the model {learned}."
                    + _causes(
                        wording,
                        (None, "too few optimizer steps"),
                        *([] if spoilt else [("learning_rate", "a learning_rate that is too low")]),
                    )
                )
        lines += _measured_troubles(name, before, item)
        for other in item.get("other_sets", ()):
            lines += _measured_troubles(
                f"{name}, {other}", of_set(before, other) if before else None, of_set(item, other)
            )
    stopped = _stopped(rounds, options)
    lines += stopped.values()
    if verified and rounds and (never := rounds[-1]["tasks"] - rounds[-1]["solved_tasks"]) and rounds[-1]["passed"]:
        lines.append(
            f"{never:,} of {plural(rounds[-1]['tasks'], 'task')} {agree(never, 'was', 'were')} never solved, so no sampled "
            f"program was learned for {agree(never, 'it', 'them')}. A larger {' or '.join(stopped) or larger}"
            f"{' or ' + hinted if (hinted := _hints(rounds[-1], options, wording)) else ''} may solve more."
        )
    return lines


def _stopped(rounds: Sequence[Record], options: Record) -> dict[str, str]:
    """By option, in words, that a limit has stopped the teacher."""
    lines = {}
    for limit, figure in ((BUDGET, "over_budget"), (MAX_COST, "over_cost")):
        tasks = {item["round"]: item[figure] for item in rounds if item.get(figure)}
        if tasks:
            value = f"={options[limit]!r}" if options.get(limit) is not None else ""
            where = ", ".join(f"{plural(count, 'task')} in round {number}" for number, count in tasks.items())
            lines[limit] = f"{limit}{value} stopped the teacher on {where}, before it was done."
    return lines


def _nothing_repaired(name: str, item: Record, options: Record, wording: Wording) -> str:
    """That nothing passed of what a teacher wrote in a round, with its likely causes."""
    count, no_code, unchanged = item["repairs"], item.get("repairs_no_code", 0), item.get("repairs_unchanged", 0)
    found = [
        f"{no_code:,} held no program" if no_code else "",
        f"{unchanged:,} {agree(unchanged, 'was', 'were')} the program that was shown" if unchanged else "",
    ]
    told = f" ({', '.join(part for part in found if part)})" if any(found) else ""
    writer = "model" if options.get("teacher", "self") == "self" else "teacher"
    causes: list[tuple[str | None, str]] = []
    if no_code:
        length = "max_completion_length" if options.get("teacher_max_tokens") is None else "teacher_max_tokens"
        causes.append((length, f"{length} is too small for an answer"))
    if no_code or unchanged:
        causes.append((None, f"the {writer} does not understand the question"))
    heat = "temperature" if options.get("teacher_temperature") is None else "teacher_temperature"
    if unchanged and options.get(heat) == 0:
        causes.append((heat, f"{heat}=0 gives the same answer to the same question"))
    if no_code + unchanged < count:
        causes.append((None, f"the tasks are too hard for the {writer}"))
    nothing = "the only repair did not pass" if count == 1 else f"none of the {count:,} repairs passed"
    return f"{name}: {nothing}{told}." + _causes(wording, *causes)


def unmeasured_line(output_dir: str | Path) -> str:
    """What a run without evaluation tasks ends with instead of figures.

    Args:
        output_dir: Its folder.
    """
    command = shlex.join(["trl-gift", "evaluate", str(output_dir), "--eval_dataset_name"])
    return (
        f"Nothing was measured, because the run has no evaluation tasks (eval_dataset). `{command} TASKS` measures the trained "
        "model."
    )


def left_out_lines(base: Record | None, tasks: Sequence[str] = ()) -> list[str]:
    """A line for each set of tasks of which some were too long for the model.

    Args:
        base: Content of `base.json`; None if nothing was measured.
        tasks: Names of such training tasks.
    """
    found = {("training task", ""): list(tasks)}
    for name, view, _ in views(base, []):
        found["evaluation task", f" of {name}" if name else ""] = list((view or {}).get("left_out", ()))
    return [
        f"{plural(len(names), kind)}{of} {agree(len(names), 'was', 'were')} left out, because prompt and max_completion_length "
        "exceed the model's positions: "
        f"{', '.join(names[:_NAMES_SHOWN])}{', …' if len(names) > _NAMES_SHOWN else ''}."
        for (kind, of), names in found.items()
        if names
    ]


def _too_hot(options: Record) -> list[tuple[str, str]]:
    """The temperature as a cause, and a pilot as the cure where the run may have one; a pilot has chosen well already."""
    if options.get("temperature") in ("auto", 0):
        return []
    cure = "" if options.get("sampling_model") else " (temperature='auto' tries several)"
    return [("temperature", f"the temperature is too high{cure}")]


def _hints(last: Record, options: Record, wording: Wording) -> str:
    """The options that try unsolved tasks again with a hint; empty where the run has them, or others that exclude them."""
    least = 3 if options.get("step_allocation") == "uncertain" else 2
    if options.get("sampler") == "hinted" or options.get("continue_chains") or options.get("num_steps", least) < least:
        return ""
    # Without references, as far as the round shows, the default hint is refused.
    if options.get("hint", "reference") == "reference" and not last.get("references"):
        return "sampler='hinted' with hint='failing_test'" if wording.offers("hint") else ""
    return "sampler='hinted'"


def _causes(wording: Wording, *causes: tuple[str | None, str]) -> str:
    """The likely causes that need no option, or one that the user has."""
    found = [text for option, text in causes if option is None or wording.offers(option)]
    return f" Likely {agree(len(found), 'cause', 'causes')}: {'; '.join(found)}." if found else ""


def _measured_troubles(name: str, before: Record | None, item: Record) -> list[str]:
    lines = []
    gain = item.get("gain")
    if gain and gain["high"] < 0:
        lines.append(
            f"{name}: the model solves fewer tasks than the base model, {_gain(gain)}. Likely causes: a learning_rate "
            "that is too high, too many epochs, or too few distinct programs to learn from."
        )
    if before is not None and before.get("greedy") and item.get("greedy"):
        difference, (low, high) = paired_difference(item["greedy"], before["greedy"])
        if difference < 0:
            chance = "which may be chance" if high >= 0 else "and the interval lies below zero"
            lines.append(
                f"{name}: pass@1 is lower than in round {before['round']}, {_points(difference, low, high)}, {chance}. "
                "Fewer rounds may do."
            )
    return lines


def _set_of(base: Record | None) -> str:
    return str((base or {}).get("eval_set", ""))


def _pass_at_1(metrics: Mapping[str, float]) -> str:
    if "pass@1" not in metrics:
        return ""
    return f"{metrics['pass@1']:.1%} [{metrics['pass@1_low']:.1%}, {metrics['pass@1_high']:.1%}]"


def _gain(gain: Mapping[str, float]) -> str:
    return _points(gain["pass@1"], gain["low"], gain["high"])


def _points(value: float, low: float, high: float) -> str:
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"
