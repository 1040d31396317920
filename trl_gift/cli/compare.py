"""`trl-gift compare`: the runs of several configs on the same seeds, one after the other, and their paired differences.

Every run is a `trl-gift train` of its own in `OUTPUT/NAME/seed-N`. A run that has ended is not run again, and one that was
stopped continues, so the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trl_gift.cli.lines import LineParser, check_at_least
from trl_gift.common.files import write_json
from trl_gift.common.words import plural
from trl_gift.errors import ConfigError
from trl_gift.run.compared import (
    PASS_AT_1,
    TOKENS,
    Difference,
    RunFigures,
    differences,
    figures_of,
    is_finished,
    unequal_tokens,
)
from trl_gift.run.folder import RunFolder

_RECORD = "compare.json"


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the configs.

    Attributes:
        name: The name of its file without the ending.
        config: The file.
        digest: A hash of its content, which must stay while its runs are compared.
    """

    name: str
    config: str
    digest: str


def run(argv: Sequence[str]) -> int:
    """Runs what has not ended yet, then prints the differences; the exit code is that of the first run that fails."""
    options, rest = _parser().parse_known_args(list(argv))
    check_at_least(1, {"--repeats": options.repeats})
    if options.repeats and options.seeds:
        raise ConfigError(f"--repeats {options.repeats} and --seeds both choose the seeds; leave one of them out.")
    seeds = options.seeds or list(range(options.repeats or 1))
    if len({*seeds}) < len(seeds):
        raise ConfigError(f"--seeds {' '.join(map(str, seeds))}: a seed occurs twice; give each once.")
    arms = _arms(options.config)
    folder = Path(options.output_dir)
    _check_options(arms, rest)
    _check_same(folder, arms, rest)
    for seed in seeds:
        for arm in arms:
            if code := _train(arm, seed, folder, rest):
                return code
    figures = {arm.name: [figures_of(_run_folder(folder, arm, seed)) for seed in seeds] for arm in arms}
    compared = {arm.name: differences(figures[arms[0].name], figures[arm.name]) for arm in arms[1:]}
    warnings = [
        line for arm in arms[1:] if (line := _warning(arms[0].name, arm.name, compared[arm.name], figures[arm.name]))
    ]
    if options.json:
        print(json.dumps(_record(arms, seeds, folder, figures, compared, warnings)))
    else:
        print("\n\n".join(_text(arms[0].name, name, seeds, figures, compared[name]) for name in compared))
        for line in warnings:
            print(f"\nwarning: {line}")
    return 0


def _arms(configs: Sequence[str]) -> list[Arm]:
    if len(configs) < 2:
        raise ConfigError("a comparison needs two configs; give --config twice.")
    arms = []
    for config in configs:
        if not Path(config).is_file():
            raise ConfigError(f"--config {config}: no such file; check the path.")
        arms.append(
            Arm(Path(config).stem, config, hashlib.blake2b(Path(config).read_bytes(), digest_size=8).hexdigest())
        )
    names = [arm.name for arm in arms]
    for arm in arms:
        if names.count(arm.name) > 1:
            raise ConfigError(
                f"--config {arm.config}: another config is called {arm.name!r}, too, and its runs would share a folder; rename it."
            )
    return arms


def _check_options(arms: Sequence[Arm], rest: Sequence[str]) -> None:
    """Reads the options of every config before anything runs.

    Raises:
        ConfigError: for the first config that cannot work, or that measures nothing.
    """
    from trl_gift.cli.arguments import parse  # takes seconds, and mistakes above are told at once

    for item in rest:
        if item.partition("=")[0].replace("_", "-") in ("--seed", "--samples-seed", "--resume"):
            raise ConfigError(
                f"{item}: compare itself sets the seeds and continues runs; give --seeds or leave it out."
            )
    for arm in arms:
        arguments, _, _, _ = parse("train", ["--config", arm.config, *rest])
        if arguments.eval_dataset_name is None and arguments.dataset_test_split is None:
            raise ConfigError(
                f"--config {arm.config} names no held-out tasks, and there would be nothing to compare; give eval_dataset_name or "
                "dataset_test_split."
            )


def _check_same(folder: Path, arms: Sequence[Arm], rest: Sequence[str]) -> None:
    """Records what is compared; a folder whose runs had other options is refused.

    Raises:
        ConfigError: if a config of this folder, or the options beside it, have changed.
    """
    path = folder / _RECORD
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = {item["name"]: item["digest"] for item in known.get("configs", ())}
    for arm in arms:
        if before.get(arm.name, arm.digest) != arm.digest:
            raise ConfigError(
                f"--config {arm.config} is not the file any more whose runs are in {folder}; put it back, or give another "
                "--output-dir."
            )
    if known and known["options"] != list(rest):
        raise ConfigError(
            f"the runs in {folder} had the options {known['options']}, and now they are {list(rest)}; put them back, or give "
            "another --output-dir."
        )
    others = [item for item in known.get("configs", ()) if item["name"] not in {arm.name for arm in arms}]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"configs": [*others, *map(asdict, arms)], "options": list(rest)})


def _run_folder(folder: Path, arm: Arm, seed: int) -> RunFolder:
    return RunFolder(folder / arm.name / f"seed-{seed}")


def _train(arm: Arm, seed: int, folder: Path, rest: Sequence[str]) -> int:
    """Runs a config with a seed, unless that has ended, and returns the exit code."""
    target = _run_folder(folder, arm, seed)
    if target.exists and is_finished(target):
        print(f"{arm.name}, seed {seed}: has ended already", file=sys.stderr)
        return 0
    print(f"{arm.name}, seed {seed}: {'continues' if target.exists else 'begins'}", file=sys.stderr, flush=True)
    command = [
        sys.executable, "-m", "trl_gift", "train", "--config", arm.config, *rest, "--seed", str(seed), "--samples_seed", str(seed),
        "--output_dir", str(target.root.parent), *(["--resume"] if target.exists else []),
    ]  # fmt: skip
    # Standard output is for the comparison.
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", file=sys.stderr, flush=True)
    if done.returncode:
        print(
            f"trl-gift: the run of {arm.config} with seed {seed} failed (exit code {done.returncode}); what it sampled is kept, and the "
            "same command continues it.",
            file=sys.stderr,
        )
    return done.returncode


def _warning(first: str, other: str, found: Sequence[Difference], figures: Sequence[RunFigures]) -> str:
    share = unequal_tokens(found)
    if share is None:
        return ""
    limited = all(run.max_tokens for run in figures)
    cure = (
        "their max_tokens_per_round differ, or num_steps ended the chains before; raise num_steps"
        if limited
        else "set the same max_tokens_per_round in both for a fair comparison"
    )
    return f"{other} sampled {abs(share):.0%} {'more' if share > 0 else 'fewer'} tokens than {first}; {cure}."


def _text(
    first: str,
    other: str,
    seeds: Sequence[int],
    figures: Mapping[str, Sequence[RunFigures]],
    found: Sequence[Difference],
) -> str:
    held_out = len(figures[first][0].tasks[PASS_AT_1])
    chosen = f"{plural(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    rows = [["", first, other, "difference", "over the seeds", "over the tasks"]]
    for item in found:
        is_share, is_count = item.over_tasks is not None, item.name == TOKENS
        rows.append(
            [
                item.name,
                *(f"{100 * value:.1f} %" if is_share else f"{value:,.0f}" for value in (item.first, item.other)),
                f"{item.difference / item.first:+.1%}" if is_count else _signed(item.difference, is_share),
                "" if is_count else _interval(item.over_seeds, is_share),
                _interval(item.over_tasks, is_share),
            ]
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip
    return "\n".join(
        [
            f"{other} less {first}: {chosen}, {plural(held_out, 'held-out task')}, 95 % intervals, in points",
            "",
            *table,
            "",
            _sentence(first, other, found[0]),
        ]
    )


def _sentence(first: str, other: str, greedy: Difference) -> str:
    intervals = [interval for interval in (greedy.over_seeds, greedy.over_tasks) if interval is not None]
    if all(low > 0 for low, _ in intervals):
        verdict = f"{other} solves more held-out tasks than {first}"
    elif all(high < 0 for _, high in intervals):
        verdict = f"{other} solves fewer held-out tasks than {first}"
    else:
        verdict = "No difference in pass@1 is shown"
    rest = "" if greedy.over_seeds else " One seed says nothing about other runs; --repeats 3 or more does."
    return f"{verdict}.{rest}"


def _signed(value: float, is_share: bool) -> str:
    return f"{100 * value:+.1f}" if is_share else f"{value:+,.1f}"


def _interval(interval: tuple[float, float] | None, is_share: bool) -> str:
    return "" if interval is None else f"[{_signed(interval[0], is_share)}, {_signed(interval[1], is_share)}]"


def _record(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    folder: Path,
    figures: Mapping[str, Sequence[RunFigures]],
    compared: Mapping[str, Sequence[Difference]],
    warnings: Sequence[str],
) -> dict[str, Any]:
    runs = {
        arm.name: [
            {
                "seed": seed,
                "output_dir": str(_run_folder(folder, arm, seed).root.parent),
                **{name: sum(values.values()) / len(values) for name, values in found.tasks.items()},
                **found.totals,
            }
            for seed, found in zip(seeds, figures[arm.name], strict=True)
        ]
        for arm in arms
    }
    return {
        "seeds": list(seeds),
        "first": arms[0].name,
        "runs": runs,
        "differences": {name: [item.to_record() for item in found] for name, found in compared.items()},
        "warnings": list(warnings),
    }


def names() -> Mapping[str, str]:
    """How this command spells its options, by their names in Python: as `train` does, of which it takes all."""
    from trl_gift.cli.arguments import option_names

    return option_names()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift compare",
        usage="trl-gift compare --config FIRST.yaml --config OTHER.yaml --output-dir DIR [--seeds N ... | --repeats N] [--json] "
        "[options of train]",
        description="Runs several configs of `trl-gift train` on the same seeds, one run after the other, and prints what each config\n"
        "has less the first: held-out pass@1 and pass@k, tasks solved, distinct programs, tokens. The same command goes on\n"
        "where it was interrupted. Options of `trl-gift train` beside these hold for all configs.",
        epilog="example:\n  trl-gift compare --config rft.yaml --config gift.yaml --output-dir compared --repeats 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="a config, two or more times")
    parser.add_argument("--output-dir", required=True, metavar="DIR", help="where the runs lie: DIR/NAME/seed-N")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="the seeds of the runs of each config")
    parser.add_argument("--repeats", type=int, metavar="N", help="the seeds 0 to N-1 (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
