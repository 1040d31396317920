"""`trl-gift merge`: adds a LoRA adapter to its unquantised base and saves a model of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from trl_gift.cli.lines import LineParser
from trl_gift.playground import model_path
from trl_gift.training.merging import DTYPES, merge_adapter


def run(argv: Sequence[str]) -> int:
    """Merges."""
    options = _parser().parse_args(argv)
    base = str(model_path()) if options.base == "playground" else options.base
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        merged = merge_adapter(options.adapter, options.output, base, options.dtype, options.trust_remote_code)
    if options.json:
        print(json.dumps(asdict(merged)))
    else:
        print(
            f"{merged.output}: {merged.parameters:,} parameters in {merged.dtype}, {merged.base} and {merged.adapter}"
        )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="trl-gift merge",
        description="Add a LoRA adapter to its base model and save a model of its own. The base must be unquantised, "
        "also where the adapter was trained over 4-bit or 8-bit weights.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("adapter", help="folder of the adapter, such as output_dir, or its name on the Hub")
    parser.add_argument("--output", required=True, help="new folder for the merged model and its tokenizer")
    parser.add_argument("--base", help="base model; the one that the adapter names by default")
    parser.add_argument("--dtype", default="auto", choices=DTYPES, help="of the merged weights; the base's by default")
    parser.add_argument("--trust_remote_code", action="store_true", help="run code of the base's repository")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
