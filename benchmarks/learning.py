"""What the method brings on the playground, with repeats: chain against plain sampling, weighted against uniform draws.

    python benchmarks/learning.py --repeats 4

Each repeat is one `trl-gift quickstart` per arm with the same seed, so arms are compared in pairs. Prints for each arm
the mean of held-out greedy pass@1, solved tasks and distinct passing programs after each round, and for each arm the
mean difference to plain sampling with its 95 % t-interval over the repeats. With `--json` the last line is one JSON
object whose `ratios` maps names to numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

ARMS = {
    "plain": ("--sampler", "conditional", "--perplexity-weight", "0"),
    "chain": ("--sampler", "gibbs", "--perplexity-weight", "2"),
    "chain, uniform draws": ("--sampler", "gibbs", "--perplexity-weight", "0"),
}
FIGURES = ("pass@1", "solved_tasks", "distinct_programs", "passed")
# Two-sided 95 % quantiles of Student's t for 1..9 degrees of freedom.
T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=4, help="runs of each arm, 2 to 10")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options, rest = parser.parse_known_args()
    if not 2 <= options.repeats <= 10:
        parser.error(f"--repeats {options.repeats}: an interval needs 2 to 10 repeats")
    results = {arm: [] for arm in ARMS}
    for repeat in range(options.repeats):
        for arm, flags in ARMS.items():
            results[arm].append(run(repeat, options.rounds, (*flags, *rest)))
            last = results[arm][-1]["rounds"][-1]
            print(f"repeat {repeat}, {arm}: " + ", ".join(f"{name} {last[name]:g}" for name in FIGURES), flush=True)
    ratios = report(results, options.rounds)
    if options.json:
        print(json.dumps({"repeats": options.repeats, "ratios": ratios}))


def run(seed: int, rounds: int, flags: tuple[str, ...]) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "trl_gift.cli.main", "quickstart", "--json", "--quiet", "--seed", str(seed)]
        command += ["--rounds", str(rounds), "--output-dir", str(Path(folder) / "out"), *flags]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{process.stderr[-2000:]}")
    return json.loads(process.stdout)


def report(results: dict[str, list[dict]], rounds: int) -> dict[str, float]:
    ratios = {}
    for round_index in range(rounds):
        print(
            f"\nround {round_index + 1}, mean over {len(results['plain'])} repeats; difference to plain sampling [95 %]"
        )
        for name in FIGURES:
            values = {arm: [item["rounds"][round_index][name] for item in items] for arm, items in results.items()}
            print(f"  {name}")
            for arm, numbers in values.items():
                differences = [a - b for a, b in zip(numbers, values["plain"], strict=True)]
                mean, half = interval(differences)
                print(
                    f"    {arm:<22} {sum(numbers) / len(numbers):8.3f}   {mean:+8.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"
                )
                if arm != "plain":
                    ratios[f"{arm}/plain {name} round {round_index + 1}"] = sum(numbers) / sum(values["plain"])
    return ratios


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half width of the 95 % t-interval."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, T95[len(values) - 2] * math.sqrt(variance / len(values))


if __name__ == "__main__":
    main()
