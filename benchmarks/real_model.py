"""Self-training of a pretrained model on MBPP: what each way of sampling brings at the same number of generated tokens.

    python benchmarks/real_model.py --mbpp mbpp_sanitized.jsonl --out real --repeats 3

The model is SmolLM2-135M-Instruct (`python -m tools.smollm2`), or the folder given by `--model`. Training tasks are MBPP's
own (601-974), test tasks too (11-510); `--humaneval FILE` measures on HumanEval besides. Arms, each trained with LoRA from
the base weights in one round:

    references   the reference solutions alone
    rft          programs sampled from the task's own description
    gift         programs sampled by the chain
    gift-alone   the chain without reference solutions: it never reads one, and none is trained on
    rft-alone    programs from the task's own description, without training on references

The chains come first; `rft` and `rft-alone` then take as many steps as cost the same number of tokens. Every arm is
measured greedily (pass@1) and by 10 programs per task at the sampling temperature (pass@10). An arm that is done is not run
again, and one that was stopped continues, so the command can be repeated. With `--json` the last line is one JSON object;
`--plot FILE` draws the arms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

import trl_gift
from trl_gift import GiFTConfig, GiFTTrainer, load_tasks
from trl_gift.evaluation import paired_difference
from trl_gift.run.compared import t_interval
from trl_gift.training.pairs import training_pairs

ARMS = ("references", "gift", "rft", "gift-alone", "rft-alone")
CHAIN_OF = {"rft": "gift", "rft-alone": "gift-alone"}


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    out = Path(options.out)
    model = options.model or str(_smollm2(out / "smollm2"))
    tasks = load_tasks(options.mbpp)
    train = [task for task in tasks if 601 <= int(task.task_id) <= 974][: options.train_tasks]
    tests = {"mbpp": [task for task in tasks if 11 <= int(task.task_id) <= 510][: options.test_tasks]}
    if options.humaneval:
        tests["humaneval"] = load_tasks(options.humaneval)[: options.test_tasks]
    results: dict[str, list[dict[str, Any]]] = {"base": [], **{arm: [] for arm in options.arms}}
    for repeat in range(options.repeats):
        for arm in results:
            folder = out / f"repeat-{repeat}" / arm
            found = done(folder) or run(arm, repeat, folder, model, train, tests, options)
            results[arm].append(found)
            print(line(repeat, arm, found), flush=True)
    ratios = report(results)
    if options.plot:
        plot(results, options.plot)
    if options.json:
        print(json.dumps({"model": model, "repeats": options.repeats, "ratios": ratios, "results": results}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mbpp", required=True, help="MBPP, as a JSON Lines file")
    parser.add_argument("--humaneval", help="HumanEval, as a JSON Lines file; measured too if given")
    parser.add_argument("--model", help="a model's folder; SmolLM2-135M-Instruct if not given")
    parser.add_argument("--out", required=True, help="folder of the runs; what is done there is not run again")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each arm, each with another seed")
    parser.add_argument("--train-tasks", type=int, default=100)
    parser.add_argument("--test-tasks", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="steps of a chain")
    parser.add_argument("--generations", type=int, default=3, help="programs of a step")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--prompt-format", default="auto", choices=("auto", "base", "chat"))
    parser.add_argument("--eval-generations", type=int, default=10)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="programs executed at once")
    parser.add_argument("--cpu", action="store_true", default=not torch.cuda.is_available())
    parser.add_argument("--plot", help="file of the plot (.svg, .png or .pdf); needs matplotlib")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if any(CHAIN_OF.get(arm, arm) not in options.arms for arm in options.arms):
        parser.error("rft needs gift, and rft-alone needs gift-alone, for the number of tokens.")
    options.arms = [arm for arm in ARMS if arm in options.arms]
    return options


def _smollm2(folder: Path) -> Path:
    import sys

    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tools.smollm2 import smollm2

    return smollm2(folder)


def done(folder: Path) -> dict[str, Any] | None:
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def config(arm: str, repeat: int, folder: Path, options: argparse.Namespace) -> GiFTConfig:
    """The options of an arm; all arms differ in how programs are sampled and in what is trained on alone."""
    return GiFTConfig(
        str(folder / "run"),
        sampler="conditional" if arm.startswith("rft") else "gibbs",
        num_steps=rft_steps(folder, arm, options) if arm in CHAIN_OF else options.steps,
        num_generations=options.generations,
        temperature=options.temperature,
        top_p=0.95,
        description_temperature=options.temperature,
        max_completion_length=256,
        max_description_length=160,
        prompt_format=options.prompt_format,
        pool="all",
        num_selected=4,
        perplexity_weight=0.0 if arm.startswith("rft") else 2.0,
        train_on_references=not arm.endswith("-alone"),
        eval_num_generations=options.eval_generations,
        eval_k=[1, options.eval_generations],
        eval_temperature=options.temperature,
        num_train_epochs=options.epochs,
        learning_rate=2e-4,
        per_device_train_batch_size=8,
        gradient_checkpointing=False,
        max_length=512,
        seed=repeat,
        sandbox_workers=options.workers,
        use_cpu=options.cpu,
        bf16=not options.cpu,
        save_strategy="no",
        report_to="none",
        logging_steps=50,
    )


def rft_steps(folder: Path, arm: str, options: argparse.Namespace) -> int:
    """How many plain steps cost as many tokens as the chain: its first step is a plain one, so it tells the price."""
    chain = done(folder.parent / CHAIN_OF[arm])
    assert chain, f"{CHAIN_OF[arm]} comes before {arm}"
    return max(1, round(chain["tokens"] / chain["tokens_of_first_step"]))


def run(
    arm: str, repeat: int, folder: Path, model: str, train: list, tests: dict[str, list], options: argparse.Namespace
) -> dict[str, Any]:
    """Trains one arm and measures it; writes and returns its figures."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    if arm == "base":
        args = config("gift", repeat, folder, options)
        trained, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    else:
        tasks = [replace(task, reference=None) for task in train] if arm.endswith("-alone") else train
        args = config(arm, repeat, folder, options)
        trainer = GiFTTrainer(
            model, args, tasks, peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
        )
        if arm == "references":
            pairs = training_pairs(trainer.tasks, [], args.targets(trainer.prompts), args.max_length, True)
            trainer.train_round(1, pairs, None)
            figures = {"pairs": len(pairs.pairs), "tokens": 0}
        else:
            (summary,) = trainer.train(resume_from_checkpoint=True).rounds
            names = ("pairs", "tokens", "samples", "passed", "copied", "no_code", "solved_tasks", "distinct_programs",
                     "descriptions", "leaks")  # fmt: skip
            figures = {name: summary[name] for name in names}
            figures["tokens_of_first_step"] = summary["chain"][0]["tokens"] * len(trainer.tasks)
        trained, tokenizer = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
    figures["seconds"] = time.monotonic() - started
    measured = {name: trl_gift.evaluate(trained, some, args, tokenizer) for name, some in tests.items()}
    figures |= {"metrics": {name: result.metrics() for name, result in measured.items()},
                "greedy": {name: result.greedy for name, result in measured.items()},
                "convention": next(iter(measured.values())).convention}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(figures, indent=1))
    return figures


def line(repeat: int, arm: str, found: dict[str, Any]) -> str:
    metrics = ", ".join(
        f"{test} {name} {100 * value:.1f} %"
        for test, values in found["metrics"].items()
        for name, value in values.items()
        if name.startswith(("pass@", "sampled_pass@")) and not name.endswith(("_low", "_high"))
    )
    names = ("samples", "passed", "copied", "solved_tasks", "distinct_programs", "descriptions", "leaks", "tokens")
    counts = ", ".join(f"{name} {found[name]}" for name in names if name in found)
    return f"repeat {repeat}, {arm}: {metrics}; {counts}; {found['seconds']:.0f} s"


def report(results: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Prints means over the repeats with 95 % intervals, and gains over the base model paired by task."""
    ratios: dict[str, float] = {}
    repeats = len(results["base"])
    for test in results["base"][0]["metrics"]:
        print(
            f"\n{test}: mean over {repeats} repeats [95 % of the mean]; gain in greedy pass@1 over base, paired by task"
        )
        for arm, found in results.items():
            cells = []
            for name in found[0]["metrics"][test]:
                if name.startswith(("pass@", "sampled_pass@")) and not name.endswith(("_low", "_high")):
                    cells.append(f"{name} {spread([one['metrics'][test][name] for one in found])}")
            gains = [
                paired_difference(one["greedy"][test], base["greedy"][test])
                for one, base in zip(found, results["base"], strict=True)
            ]
            gain = statistics.fmean(value for value, _ in gains)
            intervals = "; ".join(
                f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" for value, (low, high) in gains
            )
            print(
                f"  {arm:<12} {'  '.join(cells)}" + ("" if arm == "base" else f"  gain {100 * gain:+.1f}: {intervals}")
            )
    print()
    for arm, found in results.items():
        if "tokens" in found[0]:
            names = [name for name in found[0] if isinstance(found[0][name], int | float)]
            print(
                f"  {arm:<12} "
                + ", ".join(f"{name} {statistics.fmean(one[name] for one in found):,.0f}" for name in names)
            )
    for arm, plain in (("gift", "rft"), ("gift-alone", "rft-alone")):
        if arm in results and plain in results:
            for name in ("tokens", "solved_tasks", "distinct_programs", "passed"):
                of_arm, of_plain = (sum(one[name] for one in results[key]) for key in (arm, plain))
                if of_plain:
                    ratios[f"{arm}/{plain} {name}"] = of_arm / of_plain
    return ratios


def spread(values: list[float]) -> str:
    """Mean and 95 % t-interval of the repeats, in percent."""
    mean = statistics.fmean(values)
    interval = t_interval(values)
    return f"{100 * mean:.1f} %" + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")


def plot(results: dict[str, list[dict[str, Any]]], path: str) -> None:
    """Greedy pass@1 and distinct correct programs of every arm, one point for each repeat."""
    import matplotlib.pyplot as plt

    test = next(iter(results["base"][0]["metrics"]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    for place, found in enumerate(results.values()):
        left.plot([place] * len(found), [100 * one["metrics"][test]["pass@1"] for one in found], "o", color="C0")
        if "distinct_programs" in found[0]:
            right.plot([place] * len(found), [one["distinct_programs"] for one in found], "o", color="C1")
    for axes, title in ((left, f"{test}: greedy pass@1, %"), (right, "distinct correct programs sampled")):
        axes.set_title(title)
        axes.set_xticks(range(len(results)), results, rotation=30, ha="right")
        axes.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
