"""`trl-gift report`: writes the report of a run, finished or not, as one HTML file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from trl_gift.cli.lines import LineParser, check_at_least
from trl_gift.common.words import plural
from trl_gift.report import DEFAULT_SAMPLES, load_run, write_report


def run(argv: Sequence[str]) -> int:
    """Writes the report."""
    options = _parser().parse_args(argv)
    check_at_least(0, {"--max-samples": options.max_samples})
    written = write_report(load_run(options.run), options.output, options.max_samples)
    if options.json:
        print(json.dumps(written.to_record()))
    else:
        left_out = f", {written.left_out:,} left out" if written.left_out else ""
        print(f"{written.path}: {_size(written.bytes)}, {plural(written.samples, 'sample')}{left_out}")
    return 0


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift report",
        description="Write the report of a run as one HTML file that needs no network: pass@1 and its\nintervals, the chain, "
        "outcomes, selection and costs, and a browser of samples.\nThe run may be unfinished.",
        epilog="example:\n  trl-gift report quickstart-out --output report.html",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="OUT", help="the output_dir of a run, or the _gift folder in it")
    parser.add_argument("--output", metavar="FILE", help="the HTML file; by default OUT/_gift/report.html")
    parser.add_argument(
        "--max-samples",
        type=int,
        default=DEFAULT_SAMPLES,
        metavar="N",
        help=f"number of samples that the page may hold; by default {DEFAULT_SAMPLES:,}. The page stays below 5 MB",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: path, bytes, samples, left_out")
    return parser
