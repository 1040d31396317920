"""`trl-gift export`: a run's programs as a data set for TRL's other trainers: preference pairs, labels, passing programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trl_gift.cli.lines import LineParser, check_at_least, printable
from trl_gift.cli.show import open_run
from trl_gift.common.words import plural

if TYPE_CHECKING:
    from trl_gift.hub import ExportFacts

_KINDS = ("dpo", "kto", "sft", "reward", "attempts")
_UNITS = {"dpo": "pair", "reward": "pair", "kto": "labelled program", "sft": "program", "attempts": "attempt"}
_WITH_MESSAGES = {None: None, "true": True, "false": False}
_REASONS: Mapping[str, str] = {
    "no_code": "no program in the completion",
    "copied": "copies of a reference",
    "unverified": "not executed",
    "infrastructure": "not executed for lack of a sandbox",
    "repeated": "repetitions of a program",
}


def run(argv: Sequence[str]) -> int:
    """Writes the data set, and pushes it if asked to."""
    options = _parser().parse_args(argv)
    check_at_least(0, {"--pairs_per_task": options.pairs_per_task})
    check_at_least(1, {"--uses_per_program": options.uses_per_program})
    folder = open_run(options.run).root.parent
    # Loaded late, so that a mistake in the options is reported at once.
    from trl_gift.export import export_run
    from trl_gift.export.exporting import check_folder
    from trl_gift.hub import push_export

    output = Path(options.output or folder / f"export-{options.to}")
    check_folder(output)
    messages = _WITH_MESSAGES[options.messages]
    exported = export_run(
        folder,
        options.to,
        format=options.format,
        pairs_per_task=options.pairs_per_task or None,
        uses_per_program=options.uses_per_program,
        messages=options.push_to_hub is None if messages is None else messages,
    )
    exported.save(output)
    repository = None
    if options.push_to_hub is not None:
        repository = push_export(output, options.push_to_hub, exported.facts, options.private)
    record = {"run": str(folder), "output": str(output), **exported.facts.to_record(), "repository": repository}
    print(json.dumps(record) if options.json else printable(_text(exported.facts, output, repository)))
    return 0


def _text(facts: ExportFacts, output: Path, repository: str | None) -> str:
    lines = [
        f"{plural(facts.rows, _UNITS[facts.kind])} of {plural(facts.tasks, 'task')} ({facts.tasks_of_run:,} in the run), "
        f"{facts.format}, in {output}."
    ]
    if facts.verified and facts.kind != "attempts":
        lines.append(f"distinct programs of the run: {facts.passed:,} passed, {facts.failed:,} failed")
    if facts.kind != "attempts":
        lines += [f"left out, {_REASONS.get(why, why)}: {count:,}" for why, count in facts.left_out.items()]
    if repository:
        lines.append(f"pushed to the dataset {repository}")
    lines.append(f'load it with datasets.load_dataset({repository or str(output)!r}, split="train")')
    return "\n".join(lines)


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift export",
        description="Make a data set for another trainer of TRL from the programs that a run has recorded, with their verdicts: "
        "pairs of a passing and a failing program that differ in little (dpo, reward), programs with a label (kto), passing programs "
        "(sft), or every attempt with its error (attempts). Nothing is sampled and nothing is executed.",
        epilog="Exit codes: 0 the data set is written; 1 a failure while running; 2 bad input, or a run that has no such rows.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="output_dir of a run, finished or not")
    parser.add_argument(
        "--to",
        required=True,
        choices=_KINDS,
        help="trainer of TRL that the data set is for (DPOTrainer, KTOTrainer, SFTTrainer, RewardTrainer), or attempts, for a "
        "ranker or a critic",
    )
    parser.add_argument("--output", metavar="DIR", help="new folder; RUN/export-KIND if not given")
    parser.add_argument(
        "--format",
        default="auto",
        choices=("auto", "text", "conversational"),
        help="auto: turns of a chat if the run asks its model as a chat model, else text",
    )
    parser.add_argument(
        "--pairs_per_task",
        type=int,
        default=8,
        metavar="N",
        help="most pairs of a task; for kto most programs with the same label, for sft most programs; 0 for all",
    )
    parser.add_argument(
        "--uses_per_program", type=int, default=1, metavar="N", help="in how many pairs a program may be"
    )
    parser.add_argument(
        "--messages",
        choices=("true", "false"),
        help="column with what executions reported, which may quote paths of this machine; by default only if nothing is "
        "pushed",
    )
    parser.add_argument("--push_to_hub", metavar="NAME", help="also push the data set to this dataset on the Hub")
    parser.add_argument("--private", action="store_true", default=None, help="make the new dataset on the Hub private")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
