"""Training on edits (LintSeq) against training on whole programs, at equal optimizer steps, in pairs over seeds.

    python benchmarks/edits.py --seeds 5
    python benchmarks/edits.py --model smollm2 --mbpp mbpp_sanitized.jsonl --lora 16 --learning-rate 2e-4 --batch 8

Both arms start from the playground's model, which was trained on whole programs, and train all its weights on the same pairs of a
description and a program, drawn from the part of the playground that no task is from. One arm writes each program as it is, the
other as one edit sequence, whose token and headers it has to learn. Then both sample programs for the tasks of the split "test".

With `--model` and `--mbpp` both arms start from a pretrained model. The pairs are the references of MBPP's training split (601-974)
that compile, in a new order in each epoch and, as edits, with a new sequence; the tasks are those of the test split (11-510).
`--lora` trains an adapter, and the token of edits beside it, instead of all weights.

Prints pass@1 and pass@10 of the sampled programs, pass@1 of the greedy one, and the number of distinct programs among the samples
of a task (all, and passing ones); for each the mean of the arms, and the mean difference with its 95 % t-interval over the
seeds. Fewer than 10 samples give pass@ that number. With `--json` the last line is one JSON object whose `ratios` maps names to
numbers.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence

import torch
from experiments.intervals import difference
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_gift import Task, codetext, load_tasks
from trl_gift.common.randomness import stream_key
from trl_gift.evaluation import Evaluation, EvaluationSettings, attempt_tasks
from trl_gift.generation.compact import CompactEngine
from trl_gift.lintseq import ProgramError, sample_edit_sequences, to_text
from trl_gift.playground import model_path, playground_tasks
from trl_gift.playground.world import (
    WORDING_PROBABILITY,
    describe,
    sample_idiom,
    sample_intention,
    signature,
    split_of,
    write_code,
)
from trl_gift.prompts import PromptFormat, prompt_format
from trl_gift.prompts.edits import MALFORMED_EDITS, EditPrompts, is_edit_text
from trl_gift.sandbox import Limits, LocalSandbox
from trl_gift.training.edits import add_edit_row, add_edit_token, training_edit_token
from trl_gift.training.pairs import IGNORED, TrainingPair, make_pair

ARMS = ("programs", "edits")
POOLED = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="2 to 10")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--model", help="a pretrained model's folder, with --mbpp; the playground's model if not given"
    )
    parser.add_argument("--mbpp", help="MBPP, as a JSON Lines file, with --model")
    parser.add_argument("--lora", type=int, default=0, help="rank of an adapter to train; 0 trains all weights")
    parser.add_argument("--steps", type=int, default=304, help="optimizer steps of each arm")
    parser.add_argument("--batch", type=int, default=32, help="programs of a step")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warm-up", type=int, default=20, help="steps in which the learning rate rises")
    parser.add_argument("--tasks", type=int, default=200, help="tasks to measure on; the playground has 400")
    parser.add_argument("--samples", type=int, default=10, help="sampled programs of each task, at least 2")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the sampled programs")
    parser.add_argument("--max-tokens", type=int, default=320, help="longest completion")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="print the loss of every 20th step")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not 2 <= options.seeds <= 10:
        parser.error(f"--seeds {options.seeds}: an interval needs 2 to 10 seeds")
    if options.samples < 2:
        parser.error(f"--samples {options.samples}: distinct programs need at least 2")
    if (options.model is None) != (options.mbpp is None):
        parser.error("--model and --mbpp go together")
    torch.set_num_threads(options.threads)
    lessons, tasks = mbpp(options) if options.mbpp else (None, playground_tasks("test", options.tasks))
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for arm in ARMS:
            found = run(arm, seed, lessons, tasks, options)
            results[arm].append(found)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            print(f"seed {seed}, {arm}: {shown}", flush=True)
    ratios = report(results)
    if options.json:
        set_up = {name: value for name, value in vars(options).items() if name not in ("json", "verbose")}
        print(json.dumps({**set_up, "arms": results, "ratios": ratios}))


def mbpp(options: argparse.Namespace) -> tuple[list[Task], list[Task]]:
    """The tasks of MBPP to learn from, whose references have edit sequences, and those to measure on."""
    tasks = load_tasks(options.mbpp)
    lessons = [task for task in tasks if 601 <= int(task.task_id) <= 974 and compiles(str(task.reference))]
    return lessons, [task for task in tasks if 11 <= int(task.task_id) <= 510][: options.tasks]


def compiles(code: str) -> bool:
    """Whether a program has edit sequences."""
    try:
        sample_edit_sequences(code, 1)
    except ProgramError:
        return False
    return True


def run(
    arm: str, seed: int, lessons: Sequence[Task] | None, tasks: Sequence[Task], options: argparse.Namespace
) -> dict[str, float]:
    """Trains one arm and measures it."""
    torch.manual_seed(seed)
    source = options.model or model_path()
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if arm == "edits":
        add_edit_token(tokenizer)
    prompts = prompt_format(tokenizer)
    if isinstance(prompts, EditPrompts):
        add_edit_row(model, prompts)
    if options.lora:
        adapter = LoraConfig(
            r=options.lora, lora_alpha=2 * options.lora, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        if arm == "edits":
            adapter = training_edit_token(adapter, model, tokenizer)
        model = get_peft_model(model, adapter)
    examples = repeated(seed, lessons) if lessons else practice(seed)
    started = time.process_time()
    tokens = train(model, pairs(seed, examples, prompts), int(tokenizer.pad_token_id or 0), options)
    seconds = time.process_time() - started
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    settings = EvaluationSettings(options.max_tokens, options.samples, (1, most_k(options)), options.temperature, seed)
    with LocalSandbox(num_workers=1, limits=Limits(cpu_s=5, wall_s=60)) as sandbox:
        engine = CompactEngine(model.eval(), tokenizer)
        measured = attempt_tasks(tasks, engine, sandbox, prompts, settings)
    return {**figures(measured, most_k(options)), "trained tokens": tokens, "training seconds": seconds}


def most_k(options: argparse.Namespace) -> int:
    """The largest k of the pass@k that is printed."""
    return int(min(10, options.samples))


def practice(seed: int) -> Iterator[Task]:
    """Tasks without tests, each with its program, from the part of the playground that no task of a split is from."""
    rng = random.Random(f"edits {seed}")
    while True:
        intention = sample_intention(rng)
        if split_of(intention) != "practice":
            continue
        wording = rng.choices(range(len(WORDING_PROBABILITY)), WORDING_PROBABILITY)[0]
        code = write_code(intention, sample_idiom(rng, wording))
        yield Task("practice", describe(intention, wording), None, signature(intention), code)


def repeated(seed: int, tasks: Sequence[Task]) -> Iterator[Task]:
    """Tasks again and again, each time in another order."""
    rng = random.Random(f"edits {seed}")
    while True:
        yield from rng.sample(tasks, len(tasks))


def pairs(seed: int, tasks: Iterator[Task], prompts: PromptFormat) -> Iterator[TrainingPair]:
    """The examples of an arm, in the order of the tasks, which is the same for both arms."""
    for number, task in enumerate(tasks):
        if isinstance(prompts, EditPrompts):
            code = prompts.program(task, str(task.reference))
            (sequence,) = sample_edit_sequences(code, 1, seed=stream_key("edits", seed, number))
            yield make_pair(task, prompts.edit_target(to_text(sequence)), prompts)
        else:
            yield make_pair(task, str(prompts.target(task, str(task.reference))), prompts)


def train(model: torch.nn.Module, examples: Iterator[TrainingPair], pad: int, options: argparse.Namespace) -> int:
    """Trains, with a linear decay of the learning rate; returns the number of tokens that were learned."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, options.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    model.train()
    learned = 0
    order = random.Random(0)
    batches: list[list[TrainingPair]] = []
    for step in range(options.steps):
        falling = (options.steps - step) / max(options.steps - options.warm_up, 1)
        rate = min((step + 1) / max(options.warm_up, 1), falling)
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rate
        if not batches:
            # Batches of similar lengths need little padding. A pool ends with the training, so that both arms learn the same
            # programs, whatever their order of lengths.
            count = min(POOLED, options.steps - step) * options.batch
            pool = sorted((next(examples) for _ in range(count)), key=lambda pair: len(pair.input_ids))
            batches = [pool[start : start + options.batch] for start in range(0, len(pool), options.batch)]
            order.shuffle(batches)
        batch = batches.pop()
        longest = max(len(pair.input_ids) for pair in batch)
        ids = torch.tensor([pair.input_ids + [pad] * (longest - len(pair.input_ids)) for pair in batch])
        labels = torch.tensor([pair.labels + [IGNORED] * (longest - len(pair.labels)) for pair in batch])
        # Padding is on the right, so that no token attends to it.
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        learned += int((labels != IGNORED).sum())
        if options.verbose and (step + 1) % 20 == 0:
            print(f"  step {step + 1}: loss {loss.item():.3f}", flush=True)
    return learned


def figures(measured: Evaluation, k: int) -> dict[str, float]:
    """What is reported of one arm and seed."""
    metrics = measured.metrics()
    sampled = [attempt for attempt in measured.attempts if attempt.index >= 0]
    programs: dict[str, set[str]] = {attempt.task_id: set() for attempt in sampled}
    passing: dict[str, set[str]] = {attempt.task_id: set() for attempt in sampled}
    for attempt in sampled:
        if attempt.code is not None:
            normal = codetext.normalise(attempt.code)
            programs[attempt.task_id].add(normal)
            if attempt.passed:
                passing[attempt.task_id].add(normal)
    edits = [attempt for attempt in sampled if is_edit_text(attempt.completion)]
    return {
        "pass@1": metrics["sampled_pass@1"],
        f"pass@{k}": metrics[f"sampled_pass@{k}"],
        "greedy pass@1": metrics["pass@1"],
        "distinct programs": sum(map(len, programs.values())) / len(programs),
        "distinct passing programs": sum(map(len, passing.values())) / len(passing),
        "answers in edits": len(edits) / len(sampled),
        MALFORMED_EDITS: sum(attempt.code is None for attempt in edits) / len(sampled),
        "tokens of a sample": sum(attempt.tokens for attempt in sampled) / len(sampled),
    }


def report(results: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Prints means and paired differences; returns edits / programs of each figure."""
    count = len(results["edits"])
    print(f"\nmean over {count} seeds: programs, edits; difference of edits to programs [95 %]")
    ratios = {}
    for name in results["edits"][0]:
        values = {arm: [found[name] for found in items] for arm, items in results.items()}
        means = {arm: sum(numbers) / count for arm, numbers in values.items()}
        found = difference(values["edits"], values["programs"])
        print(
            f"  {name:<26} {means['programs']:10.3f} {means['edits']:10.3f}   {found.text(digits=3) if found else 'one seed'}"
        )
        if means["programs"]:
            ratios[f"{name}, edits/programs"] = means["edits"] / means["programs"]
    return ratios


if __name__ == "__main__":
    main()
