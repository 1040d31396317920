"""`trl-gift evaluate`: pass@1 and pass@k of a model, an adapter or a run's trained model; what was measured, and compared.

The result is on standard output, as text or with `--json` as one JSON object; bars and notes are on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trl import ModelConfig

from trl_gift.cli.arguments import load_model, measured_sets, model_name, option_names, parse_with_launch
from trl_gift.cli.lines import check_at_least
from trl_gift.common.words import agree, plural
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.evaluation import Comparison, Evaluation, EvaluationSettings
from trl_gift.inference.evaluating import Fitted, Refinement, fitted, measure_fitted
from trl_gift.inference.loading import ModelFacts, processes
from trl_gift.inference.saved import (
    EarlierSet,
    check_comparable,
    check_folder,
    compare_sets,
    fresh_folder,
    read_earlier,
    save_evaluation,
)
from trl_gift.inference.sources import ModelSource, find_source
from trl_gift.playground import named_model
from trl_gift.run.folder import RunFolder
from trl_gift.run.trained import trained_model
from trl_gift.tasks.visible import visible_tests

_MOST_NAMES = 5
_OF_THE_RUN = re.compile(r"base|round-\d+")


def run(argv: Sequence[str]) -> int:
    """Measures on the tasks of `eval_dataset_name`, or on the test split of `dataset_name`."""
    if "--resume" in argv:
        raise ConfigError("--resume: a measurement is not resumed, it begins anew; leave --resume out.")
    arguments, config, model, _, own = parse_with_launch("evaluate", argv)
    refinement = _refinement(own)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        source = _source(config, model, own)
        earlier, path = _earlier(own.compare, source)
        sets, several = measured_sets(arguments)
        folder = _folder(own.save, source)
        loaded = load_model(source, config, model, own.flags | own.file)
        fit = fitted(loaded, sets, config, refinement)
        check_comparable(fit.sets if earlier else {}, loaded.prompts(config).convention, earlier, path)
        for line in _other_lengths(earlier, fit.settings, path):
            _say(line)
        counted = ", ".join(f"{plural(len(tasks), 'task')} of {name}" for name, tasks in fit.sets.items())
        # The text at the end says what was measured.
        _say(f"measuring {loaded.facts.line() if own.json else counted}")
        results = measure_fitted(loaded, fit, config)
        compared = compare_sets(results, fit.sets, earlier) if earlier else {}
        if not processes(config).is_main_process:
            return 0
        if folder is not None:
            execution = {"isolation": config.isolation, "limits": asdict(config.limits())}
            save_evaluation(folder, results, fit.sets, loaded.facts, fit.settings, execution)
    for line in _decided_in_sight(fit):
        _say(line)
    if own.json:
        print(json.dumps(_record(results, several, loaded.facts, folder, compared, path), indent=2))
    else:
        print(_text(results, loaded.facts, config, folder, compared, path))
    return 0


def _refinement(own: argparse.Namespace) -> Refinement:
    check_at_least(0, {"--refine_steps": own.refine_steps, "--visible_tests": own.visible_tests})
    return Refinement(own.refine_steps, own.visible_tests or None)


def _source(config: GiFTConfig, model: ModelConfig, own: argparse.Namespace) -> ModelSource:
    """What is measured: what the user named, or the trained model of the run that the options describe."""
    name, folder = model_name(model), str(config.output_dir)
    base = named_model(own.base) if own.base else None
    describes_run = own.file and "output_dir" in own.file | own.flags and "model_name_or_path" not in own.flags
    if own.named is None and describes_run:
        if RunFolder(folder).exists and trained_model(folder) is not None:
            _say(f"{folder} holds the run of these options: its trained model is measured, and not {name}.")
            return find_source(folder, base, model.model_revision)
        _say(f"warning: {folder} holds no trained model yet; the base model {name} is measured.")
    return find_source(name, base, model.model_revision)


def _earlier(given: str | None, source: ModelSource) -> tuple[dict[str, EarlierSet], str]:
    """The evaluation to compare with, and where it is."""
    if given is None:
        return {}, ""
    path = given
    if _OF_THE_RUN.fullmatch(given) and not Path(given).exists():
        if source.run is None:
            raise ConfigError(
                f"compare={given!r} stands for an evaluation of the run that is measured, and what is measured is not a run; give "
                "a folder."
            )
        path = str(source.run / "_gift" / ("base.json" if given == "base" else given))
    return read_earlier(path), path


def _folder(given: str | None, source: ModelSource) -> Path | None:
    """Where the evaluation is saved: where the user says, or in the folder of a run."""
    if given is not None:
        check_folder(given)
        return Path(given)
    if source.run is None:
        return None
    if not os.access(source.run, os.W_OK | os.X_OK):
        _say(f"{source.run} cannot be written to; the attempts are not saved (--save DIR saves them elsewhere).")
        return None
    folder = fresh_folder(source.run)
    check_folder(folder)
    return folder


def _decided_in_sight(fit: Fitted) -> list[str]:
    """What weakens the figures of refinements, a line for each set."""
    if not fit.settings.refine_steps:
        return []
    counts = {
        name: sum(visible_tests(task, fit.settings.visible_tests) == task.all_tests for task in tasks)
        for name, tasks in fit.sets.items()
    }
    return [
        f"warning: of {plural(count, 'task')} of {name} all tests are visible, so refinements see what decides."
        for name, count in counts.items()
        if count
    ]


def _other_lengths(earlier: Mapping[str, EarlierSet], settings: EvaluationSettings, path: str) -> list[str]:
    now = settings.max_completion_length
    lengths = {found.max_completion_length for found in earlier.values()} - {None, now}
    return [f"warning: completions have at most {now} tokens here and {length} in {path}." for length in lengths]


def _record(
    results: Mapping[str, Evaluation],
    several: bool,
    facts: ModelFacts,
    folder: Path | None,
    compared: Mapping[str, Comparison],
    path: str,
) -> dict[str, Any]:
    """The JSON object. With several sets, the keys of metrics carry the name of the set, as in transformers."""
    record: dict[str, Any] = {}
    for name, result in results.items():
        prefix = f"eval_{name}_" if several else "eval_"
        record |= {f"{prefix}{key}": value for key, value in result.metrics().items()}
    record["convention"] = next(iter(results.values())).convention
    record["measured"] = facts.to_record()
    for key, values in (
        ("left_out", {name: list(result.left_out) for name, result in results.items()}),
        ("outcomes", {name: result.outcomes for name, result in results.items()}),
        ("tokens", {name: result.tokens for name, result in results.items()}),
        ("refinement_tokens", {name: result.refinement_tokens for name, result in results.items()}),
        ("seconds", {name: result.seconds for name, result in results.items()}),
        ("comparison", {name: {"with": path, **found.to_record()} for name, found in compared.items()}),
    ):
        record[key] = values if several or not values else next(iter(values.values()))
    record["saved"] = str(folder) if folder else None
    return record


def _text(
    results: Mapping[str, Evaluation],
    facts: ModelFacts,
    config: GiFTConfig,
    folder: Path | None,
    compared: Mapping[str, Comparison],
    path: str,
) -> str:
    lines = [f"measured   {facts.line()}", f"asked      {next(iter(results.values())).convention}"]
    for name, result in results.items():
        lines += ["", *_set_lines(name, result, config)]
        if name in compared:
            lines += _compared_lines(compared[name], path)
    if folder is not None:
        lines += ["", f"{folder}: evaluation.json, evaluation.parquet (every attempt)"]
    return "\n".join(lines)


def _set_lines(name: str, result: Evaluation, config: GiFTConfig) -> list[str]:
    metrics = result.metrics()
    lines = [f"{name}: {plural(int(metrics['num_tasks']), 'task')}, 95 % intervals"]
    names = [key for key in metrics if f"{key}_low" in metrics]
    width = max(16, *map(len, names))
    for key in names:
        low, high = metrics[f"{key}_low"], metrics[f"{key}_high"]
        how = (
            "greedy"
            if key.endswith("pass@1") and "sampled" not in key
            else f"{plural(config.eval_num_generations, 'sample')} a task, temperature {config.eval_temperature:g}"
        )
        if key.startswith("refined_"):
            how += f", then at most {plural(result.refine_steps, 'refinement')}"
        lines.append(f"  {key:<{width}} {metrics[key]:.1%} [{low:.1%}, {high:.1%}]  {how}")
    outcomes = ", ".join(f"{count} {status}" for status, count in result.outcomes.items())
    lines.append(f"  {'outcomes':<{width}} {outcomes}")
    if "edits" in metrics:
        lines.append(f"  {'edits':<{width}} {metrics['edits']:.1%} of the completions")
    if result.left_out:
        lines.append(
            f"  {'left out':<{width}} {len(result.left_out)}, too long for the model's positions: {_names(result.left_out)}"
        )
    if result.infrastructure_failures:
        lines.append(
            f"  {'':<{width}} {plural(result.infrastructure_failures, 'program')} could not be executed and "
            f"{agree(result.infrastructure_failures, 'is', 'are')} in no figure"
        )
    total = result.tokens + result.refinement_tokens
    speed = f" ({total / result.seconds:,.0f} tokens/s)" if result.seconds > 0 else ""
    lines.append(f"  {'cost':<{width}} {total:,} tokens, {result.seconds:.1f} s{speed}")
    if result.refine_steps:
        turns = sum(len(attempt.turns) for attempt in result.attempts)
        lines.append(f"  {'':<{width}} {result.refinement_tokens:,} of these tokens for {plural(turns, 'refinement')}")
    return lines


def _compared_lines(found: Comparison, path: str) -> list[str]:
    verdict = "more" if found.low > 0 else "fewer" if found.high < 0 else ""
    words = f"{verdict} tasks are solved than there" if verdict else "no difference is shown"
    lines = [
        f"  {'compared':<16} {found.difference:+.1%} [{found.low:+.1%}, {found.high:+.1%}], paired over {plural(found.tasks, 'task')}, "
        f"with {path}: {words}"
    ]
    for word, names in (("gained", found.gained), ("lost", found.lost)):
        lines.append(f"  {word:<16} {len(names)}{': ' if names else ''}{_names(names)}")
    return lines


def _names(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + rest


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def names() -> Mapping[str, str]:
    """How this command spells its options, by their names in Python."""
    return option_names()
