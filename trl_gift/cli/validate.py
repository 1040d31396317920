"""`trl-gift validate`: runs the references of a task set and looks for tests that cannot fail."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trl_gift.cli.lines import LineParser, check_at_least, printable, read_mapping
from trl_gift.common.bars import progress_bar
from trl_gift.common.spelling import spell
from trl_gift.common.words import agree, plural
from trl_gift.errors import ConfigError
from trl_gift.playground import PLAYGROUND, playground_tasks
from trl_gift.sandbox import Limits, LocalSandbox
from trl_gift.tasks import Task, filter_tasks, load_tasks
from trl_gift.tasks.validate import RUNS, Validation, number_of_programs, validate


def run(argv: Sequence[str]) -> int:
    """Validates; the exit code does not say whether tasks were quarantined, the report does."""
    options = _parser().parse_args(argv)
    check_at_least(1, {"--limit": options.limit, "--runs": options.runs, "--workers": options.workers})
    check_at_least(0.01, {"--cpu-s": options.cpu_s})
    for option, path in (("--output", options.output), ("--report", options.report)):
        if path is not None and not Path(path).parent.is_dir():
            raise ConfigError(f"{option} {path}: no such folder; make it first.")
    skipped: list[str] = []
    places: dict[str, str] = {}
    tasks = _load(options, skipped, places)
    limits = Limits(cpu_s=options.cpu_s, wall_s=3 * options.cpu_s)
    programs = number_of_programs(tasks, options.runs)
    with (
        LocalSandbox(num_workers=options.workers, limits=limits) as sandbox,
        progress_bar(programs, "validating", "program", options.json or options.quiet) as bar,
    ):
        result = validate(
            tasks, sandbox, options.runs, options.allow_shared, progress=lambda count: bar.update(count - bar.n)
        )
    if options.output:
        lines = (json.dumps(task.to_row(), ensure_ascii=False) for task in result.clean)
        Path(options.output).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    summary = {**result.summary(), "skipped": skipped, "output": options.output}
    for kind in ("quarantined", "notes"):
        summary[kind] = [{**item, "where": places.get(item["task_id"])} for item in summary[kind]]
    if options.report:
        Path(options.report).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary) if options.json else printable(_text(result, skipped, places, options)))
    return 0


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift validate",
        description="Run the reference solutions of a task set and look for tests that pass vacuously.",
        epilog="Exit codes: 0 every task was looked at, also if some were quarantined (count them with --json); "
        "1 programs could not be run; 2 bad input.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "dataset", help="a dataset on the Hub, a .jsonl, .json, .parquet or .csv file, or 'playground'"
    )
    parser.add_argument("--split", default="train", help="split of a Hub dataset or of 'playground'")
    parser.add_argument("--name", help="configuration of a Hub dataset")
    parser.add_argument("--filter", help="which tasks to look at, such as 'len(tests) >= 3'")
    parser.add_argument("--limit", type=int, help="look at this many tasks only")
    parser.add_argument("--streaming", action="store_true", help="read a Hub dataset row by row")
    parser.add_argument(
        "--skip-invalid", action="store_true", help="leave out rows that are not valid tasks, with a count"
    )
    parser.add_argument(
        "--output-comparison",
        help="how printed output is compared, such as 'tokens' or 'lines:1e-6'; by the set's rule",
    )
    parser.add_argument(
        "--column_mapping",
        metavar="JSON",
        help='your names of columns, each with the name that it is read under, such as \'{"question": "description"}\'',
    )
    parser.add_argument(
        "--language_file", action="append", default=[], metavar="FILE", help="your own file of a programming language"
    )
    parser.add_argument("--output", help="write the clean set here, as canonical JSONL")
    parser.add_argument("--report", help="write the report here, as JSON")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often a reference has to pass")
    parser.add_argument("--cpu-s", type=float, default=5.0, help="CPU seconds that one program may take")
    parser.add_argument("--workers", type=int, help="programs that run at once; the CPU count by default")
    parser.add_argument(
        "--allow-shared",
        action="store_true",
        help="keep tasks whose tests only work in the program's own interpreter; their verdicts can be forged",
    )
    parser.add_argument("--quiet", action="store_true", help="draw no progress bar")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _load(options: argparse.Namespace, skipped: list[str], places: dict[str, str]) -> list[Task]:
    if options.dataset == PLAYGROUND:
        return filter_tasks(playground_tasks(options.split, with_reference=True), options.filter, options.limit)
    return load_tasks(
        options.dataset,
        options.split,
        options.name,
        options.limit,
        options.filter,
        streaming=options.streaming,
        skip_invalid=options.skip_invalid,
        output_comparison=options.output_comparison,
        language_file=options.language_file,
        column_mapping=read_mapping(options.column_mapping),
        on_skipped=skipped.append,
        on_task=places.__setitem__,
    )


def _text(result: Validation, skipped: Sequence[str], places: Mapping[str, str], options: argparse.Namespace) -> str:
    def named(task_id: str) -> str:
        return f"{places[task_id]}, task {task_id}" if task_id in places else task_id

    summary = result.summary()
    lines = [f"{summary['valid']} of {plural(summary['tasks'], 'task')} {agree(summary['valid'], 'is', 'are')} valid."]
    if result.by_reference:
        lines.append(f"arguments go by reference in: {', '.join(result.by_reference)}")
    if result.shared:
        lines.append(f"verdicts can be forged (tests in the program's process) in: {', '.join(result.shared)}")
    if without := len(result.without_reference):
        lines.append(
            f"{plural(without, 'task')} {agree(without, 'has', 'have')} no reference; only the tests were looked at."
        )
    if result.notes:
        lines.append("kept, and worth a look:")
        lines.extend(f"  {named(item.task_id)}: {item.note}" for item in result.notes)
    if skipped:
        lines.append(f"left out, because they are not valid tasks ({len(skipped)}):")
        lines.extend(f"  {spell(reason, names())}" for reason in skipped)
    if result.quarantined:
        lines.append("quarantined:")
        lines.extend(f"  {named(item.task_id)}: {' '.join(item.reason.splitlines())}" for item in result.quarantined)
    if options.output:
        lines.append(f"{options.output}: {plural(len(result.clean), 'valid task')}")
    if options.report:
        lines.append(f"{options.report}: this report as JSON")
    return "\n".join(lines)
