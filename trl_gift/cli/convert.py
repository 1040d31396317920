"""`trl-gift convert`: rewrites tasks of functions into tasks of standard input and output, for any language."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trl_gift.cli.lines import LineParser, check_at_least, printable, read_mapping
from trl_gift.common.words import agree, plural
from trl_gift.errors import ConfigError
from trl_gift.sandbox import LocalSandbox, languages
from trl_gift.tasks import load_tasks
from trl_gift.tasks.references import settled
from trl_gift.tasks.stdio import to_stdio

_SHOWN = 5


def run(argv: Sequence[str]) -> int:
    """Converts; exits with 0 whether or not tasks were left out, the report says."""
    options = _parser().parse_args(argv)
    check_at_least(1, {"--limit": options.limit, "--workers": options.workers})
    if not Path(options.output).absolute().parent.is_dir():
        raise ConfigError(f"--output {options.output}: no such folder; make it first.")
    tasks = load_tasks(
        options.dataset,
        options.split,
        options.name,
        options.limit,
        skip_invalid=options.skip_invalid,
        column_mapping=read_mapping(options.column_mapping),
        language_file=options.language_file,
    )
    language = languages.language_named(options.language)
    if language is None:
        raise ConfigError(f"--language {options.language}: unknown; use one of {', '.join(languages.known())}.")
    with LocalSandbox(num_workers=options.workers) as sandbox:
        result = to_stdio(settled(tasks, sandbox), sandbox, language)
    lines = (json.dumps(task.to_row(), ensure_ascii=False) for task in result.tasks)
    Path(options.output).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if options.json:
        print(json.dumps({"tasks": len(tasks), "written": len(result.tasks), "left_out": dict(result.left_out)}))
        return 0
    print(
        f"{len(result.tasks)} of {plural(len(tasks), 'task')} {agree(len(result.tasks), 'is', 'are')} written to {options.output}."
    )
    reasons = Counter(reason.partition(":")[0] for reason in result.left_out.values())
    for reason, count in reasons.most_common():
        names = [task for task, given in result.left_out.items() if given.partition(":")[0] == reason]
        more = ", ..." if count > _SHOWN else ""
        print(printable(f"left out, {reason}: {count} ({', '.join(names[:_SHOWN])}{more})"))
    return 0


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift convert",
        description="Rewrite tasks of functions so that programs read arguments as JSON from standard input and print the "
        "result as JSON. The references are executed to check the new tests.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("dataset", help="a dataset on the Hub, or a .jsonl, .json, .parquet or .csv file")
    parser.add_argument("--to", choices=["stdio"], default="stdio", help="the form of the new tasks")
    parser.add_argument("-o", "--output", required=True, help="file for the new tasks, as canonical JSONL")
    parser.add_argument("--language", default="python", help="language of the new tasks")
    parser.add_argument(
        "--language_file", action="append", default=[], metavar="FILE", help="your own file of a programming language"
    )
    parser.add_argument("--split", default="train", help="split of a Hub dataset")
    parser.add_argument("--name", help="configuration of a Hub dataset")
    parser.add_argument("--limit", type=int, help="look at this many tasks only")
    parser.add_argument(
        "--skip-invalid", action="store_true", help="leave out rows that are not valid tasks, with a count"
    )
    parser.add_argument(
        "--column_mapping",
        metavar="JSON",
        help='your names of columns, each with the name that it is read under, such as \'{"question": "description"}\'',
    )
    parser.add_argument("--workers", type=int, help="programs that run at once; the CPU count by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
