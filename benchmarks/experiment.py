"""Does the method help, and which of its options do? Arms at equal numbers of generated tokens on the playground, with repeats.

    python benchmarks/experiment.py run --out experiment --seeds 10
    python benchmarks/experiment.py page --out experiment

`run` trains and measures every arm of the plan (`benchmarks/experiments/playground.yaml`) with every seed. Each finished
arm is a line of `experiment/results.jsonl`. An arm that has its line is not run again, so the command can be stopped and
repeated; `--seeds`, `--arms` and `--worlds` can grow. `page` writes tables, pictures and findings between the two markers of
`docs/experiments.md`. All arms stop sampling at the same number of tokens, descriptions counted, and all arms of a seed are
compared in pairs. A real model is measured by `benchmarks/real_model.py`. With `--json` the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from experiments.plan import TAUGHT, Arm, Plan, read_plan
from experiments.results import Results

from trl_gift.errors import ConfigError

HERE = Path(__file__).parent
PLAN = HERE / "experiments" / "playground.yaml"
PAGE = HERE.parent / "docs" / "experiments.md"


def main() -> None:
    options = arguments()
    try:
        plan = read_plan(Path(options.plan))
        if options.command == "run":
            run(plan, options)
        else:
            page(plan, options)
    except ConfigError as error:
        sys.exit(f"experiment.py: {error}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "page"):
        command = commands.add_parser(name, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        command.add_argument("--out", required=True, help="folder of results.jsonl")
        command.add_argument("--plan", default=str(PLAN), help="the arms, as a YAML file")
        command.add_argument("--json", action="store_true", help="end with one JSON object")
        if name == "run":
            command.add_argument("--seeds", type=int, default=10, help="repeats of each arm, with seeds from 0")
            command.add_argument("--worlds", nargs="+", help="worlds of the plan; all if not given")
            command.add_argument("--arms", nargs="+", help="arms of the plan; all if not given")
            command.add_argument("--jobs", type=int, default=1, help="seeds that run at once, one thread each")
        else:
            command.add_argument("--docs", default=str(PAGE), help="the page with the two markers")
    return parser.parse_args()


def run(plan: Plan, options: argparse.Namespace) -> None:
    """Runs what is not done yet; a unit of work is what one seed has left to do in one world."""
    arms = plan.chosen(options.worlds, options.arms)
    results = Results(Path(options.out), plan)
    units = []
    for seed in range(options.seeds):
        for world in plan.worlds:
            left = [arm for arm in arms if arm.world == world and not results.has(arm, seed)]
            if left:
                units.append((seed, left))
    if any(asks_the_taught(arm) for _, left in units for arm in left):
        from experiments.teacher import teacher_model

        teacher_model(teacher_folder(options.out))
    os.environ["OMP_NUM_THREADS"] = "1"  # read by the processes that the pool starts
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(run_unit, options.out, plan, seed, left) for seed, left in units]
        for unit in as_completed(running):
            unit.result()
    if options.json:
        print(json.dumps({"done": len(Results(Path(options.out), plan).records), "ratios": {}}))


def asks_the_taught(arm: Arm) -> bool:
    return bool(arm.options.get("teacher") == TAUGHT)


def teacher_folder(out: str) -> Path:
    """Where the teacher is made, once for all arms and seeds."""
    return Path(out) / "teacher"


def run_unit(out: str, plan: Plan, seed: int, arms: list[Arm]) -> None:
    """Runs arms of one world with one seed in this process, and records each as soon as it is done."""
    import torch
    import transformers
    from experiments.arm import run_arms

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    results, told = Results(Path(out), plan), sys.stdout
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        for record in run_arms(plan, seed, arms, teacher_folder(out)):
            results.add(record)
            line = f"seed {seed}, {record['world']}, {record['arm']}: pass@1 {100 * record['pass@1']:.1f} %"
            print(f"{line}, {record['cpu_s']:.0f} s of CPU time", file=told, flush=True)


def page(plan: Plan, options: argparse.Namespace) -> None:
    from experiments.page import write_page

    ratios = write_page(Results(Path(options.out), plan), Path(options.docs))
    print(f"{options.docs} is written.")
    if options.json:
        print(json.dumps({"ratios": ratios}))


if __name__ == "__main__":
    main()
