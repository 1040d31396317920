"""`trl-gift merge`: adds a LoRA adapter to its unquantised base and saves a model of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from trl_gift.cli.lines import LineParser
from trl_gift.errors import ConfigError
from trl_gift.hub import write_merged_card
from trl_gift.inference.sources import trained_model
from trl_gift.playground import model_path
from trl_gift.run.folder import RunFolder
from trl_gift.training.merging import DTYPES, merge_adapter

# A description that any model of code can be asked with.
_EXAMPLE = ("Return the sum of a and b.", "--signature", "def add(a, b):")


def run(argv: Sequence[str]) -> int:
    """Merges."""
    options = _parser().parse_args(argv)
    base = str(model_path()) if options.base == "playground" else options.base
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        adapter = _adapter(options.adapter)
        merged = merge_adapter(adapter, options.output, base, options.dtype, options.trust_remote_code)
        folder = Path(merged.output)
        # A checkpoint has no card of its own; that of its run says what it was trained on.
        cards = [Path(adapter), Path(options.adapter)]
        write_merged_card(folder, adapter, merged.base, merged.parameters, merged.dtype, cards)
    if options.json:
        print(json.dumps(asdict(merged)))
    else:
        print(
            f"{merged.output}: {merged.parameters:,} parameters in {merged.dtype}, {merged.base} and {merged.adapter}\n"
            f"Next:\n  a program  {shlex.join(['trl-gift', 'generate', merged.output, *_EXAMPLE])}"
        )
    return 0


def _adapter(name: str) -> str:
    """The adapter that a name stands for; of a run its trained model.

    Raises:
        ConfigError: for a run without a trained model.
    """
    if not RunFolder(name).exists:
        return name
    found = trained_model(name)
    if found is None:
        raise ConfigError(f"{name!r} is the folder of a run that has no trained model yet; continue the run first.")
    return found[0]


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        prog="trl-gift merge",
        description="Add a LoRA adapter to its base model and save a model of its own. The base must be unquantised, "
        "also where the adapter was trained over 4-bit or 8-bit weights.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("adapter", help="folder of the adapter, output_dir of a run, or name on the Hub")
    parser.add_argument("--output", required=True, help="new folder for the merged model and its tokenizer")
    parser.add_argument("--base", help="base model; the one that the adapter names by default")
    parser.add_argument("--dtype", default="auto", choices=DTYPES, help="of the merged weights; the base's by default")
    parser.add_argument("--trust_remote_code", action="store_true", help="run code of the base's repository")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
