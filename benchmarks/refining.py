"""Refinements on the embedded model: as a run has trained it, and after it has learned to repair its own failures.

    trl-gift quickstart --output-dir quickstart-out
    python benchmarks/refining.py --run quickstart-out --repeats 5

The failures of the run are set against programs that passed for the same task (`trl_gift.export`, as `trl-gift export --to dpo`).
Arms, each trained from the run's model on equally many pairs in equally many steps:

    run       the run's model as it is
    plain     task → program that passed, each twice
    repairs   task → program that passed, and (task, wrong program, its failure) → program that passed

Every arm is measured greedily on the test tasks, alone and with at most `--refine-steps` refinements, whose prompts show one test.
The other tests decide too. With `--json` the last line is one JSON object; its ratios compare with `run`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

import datasets
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

import trl_gift
from trl_gift import GiFTConfig
from trl_gift.export import export_run
from trl_gift.playground import playground_tasks
from trl_gift.prompts import BasePrompts
from trl_gift.run.folder import RunFolder
from trl_gift.run.trained import trained_model
from trl_gift.sampling.feedback import feedback
from trl_gift.sampling.store import read_samples
from trl_gift.sandbox import Outcome, Status
from trl_gift.training.pairs import IGNORED, TrainingPair, make_pair

ARMS = ("run", "plain", "repairs")
FIGURES = ("pass@1", "refined_pass@1", "tokens", "refinement_tokens")


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    found = trained_model(options.run)
    assert found is not None, f"{options.run} has no trained model"
    tokenizer = AutoTokenizer.from_pretrained(found[0])
    plain, repairs = pairs_of(options, BasePrompts(tokenizer))
    print(f"{len(plain)} pairs of each kind")
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(options.repeats):
        for arm, pairs in zip(ARMS, ((), (*plain, *plain), (*plain, *repairs)), strict=True):
            if arm == "run" and seed:
                continue  # nothing of it is drawn
            model = AutoModelForCausalLM.from_pretrained(found[0])
            if pairs:
                train(model, tokenizer, pairs, seed, options)
            results[arm].append(measure(model, tokenizer, options))
            print(line(arm, results[arm][-1]), flush=True)
    means = {arm: {name: mean(found, name) for name in FIGURES} for arm, found in results.items()}
    for arm, figures in means.items():
        print(f"mean     {line(arm, figures)}")
    ratios = {arm: means[arm]["refined_pass@1"] / max(means["run"]["refined_pass@1"], 1e-9) for arm in ARMS[1:]}
    if options.json:
        print(json.dumps({"pairs": len(plain), "results": results, "ratios": ratios}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of a run on the playground")
    parser.add_argument("--repeats", type=int, default=5, help="trainings of each arm, each with another seed")
    parser.add_argument("--tasks", type=int, default=400, help="test tasks")
    parser.add_argument("--refine-steps", type=int, default=2)
    parser.add_argument("--uses", type=int, default=1, help="in how many pairs a program may be")
    parser.add_argument("--distance", type=int, default=1000, help="largest edit distance of a pair")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def pairs_of(options: argparse.Namespace, prompts: BasePrompts) -> tuple[list[TrainingPair], list[TrainingPair]]:
    """The programs that passed after their tasks, and the same programs after a wrong one of the same task."""
    tasks = {task.task_id: task for task in playground_tasks("train")}
    samples = {one.sample_id: one for path in RunFolder(options.run).sampled_rounds() for one in read_samples(path)}
    plain, repairs = [], []
    for row in export_run(options.run, "dpo", pairs_per_task=None, uses_per_program=options.uses).dataset:
        if row["distance"] > options.distance:
            continue
        chosen, wrong, task = samples[row["chosen_id"]], samples[row["rejected_id"]], tasks[row["task_id"]]
        seen = wrong.outcome or {}
        outcome = Outcome(Status(seen["status"]), first_failure=seen["first_failure"], message=seen["message"])
        assert task.tests is not None
        prompt = prompts.refine(task, task.description, str(wrong.code), feedback(outcome, task.tests))
        before, after = prompts.encode(prompt, str(chosen.target))
        repairs.append(TrainingPair([*before, *after], [IGNORED] * len(before) + after))
        plain.append(make_pair(task, str(chosen.target), prompts))
    return plain, repairs


def train(model: Any, tokenizer: Any, pairs: Sequence[TrainingPair], seed: int, options: argparse.Namespace) -> None:
    """Fine-tunes all weights, as the quickstart does."""
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            folder, seed=seed, num_train_epochs=options.epochs, learning_rate=options.learning_rate,
            per_device_train_batch_size=32, max_length=512, use_cpu=True, bf16=False, gradient_checkpointing=False,
            report_to="none", disable_tqdm=True, save_strategy="no", logging_strategy="no",
        )  # fmt: skip
        columns = {"input_ids": [pair.input_ids for pair in pairs], "labels": [pair.labels for pair in pairs]}
        dataset = datasets.Dataset.from_dict(columns)
        trainer = SFTTrainer(model, config, train_dataset=dataset, processing_class=tokenizer)
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def measure(model: Any, tokenizer: Any, options: argparse.Namespace) -> dict[str, float]:
    """The figures of the test tasks, plain and refined."""
    args = GiFTConfig(
        "unused", use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, max_completion_length=64
    )
    tasks = playground_tasks("test", options.tasks)
    found = trl_gift.evaluate(model.eval(), tasks, args, tokenizer, refine_steps=options.refine_steps).metrics()
    return {name: found[name] for name in FIGURES}


def mean(found: Sequence[dict[str, float]], name: str) -> float:
    return statistics.mean(one[name] for one in found)


def line(arm: str, figures: dict[str, float]) -> str:
    plain, refined, tokens, more = (figures[name] for name in FIGURES)
    gain = 100 * (refined - plain)
    return (
        f"{arm:8} pass@1 {plain:.1%}, refined {refined:.1%} ({gain:+.1f} points), {tokens:,.0f} + {more:,.0f} tokens"
    )


if __name__ == "__main__":
    main()
