"""`trl-gift merge`: adds a LoRA adapter to its unquantised base and saves a model of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import transformers
from transformers import AutoTokenizer

from trl_gift.cli.following import example_arguments, titled
from trl_gift.cli.lines import LineParser
from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.hub import write_merged_card
from trl_gift.inference.generating import make_task
from trl_gift.inference.sources import recorded_options
from trl_gift.playground import is_playground_model, named_model
from trl_gift.prompts import EditPrompts
from trl_gift.run.folder import RunFolder
from trl_gift.run.trained import trained_model
from trl_gift.training.merging import DTYPES, merge_adapter

# What any model of code can be asked; of an adapter whose run is here, one of its tasks is shown.
_EXAMPLE = {"description": "Return the sum of a and b.", "signature": "def add(a, b):"}


def run(argv: Sequence[str]) -> int:
    """Merges."""
    options = _parser().parse_args(argv)
    transformers.utils.logging.disable_progress_bar()
    base = named_model(options.base) if options.base else None
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        adapter = _adapter(options.adapter)
        merged = merge_adapter(adapter, options.output, base, options.dtype, options.trust_remote_code)
        folder = Path(merged.output)
        run = _run_of(options.adapter)
        example = (run.example() if run else None) or _EXAMPLE
        prompt, length, edits = _prompt(folder, example, run, options.trust_remote_code)
        # A checkpoint has no card of its own; that of its run says what it was trained on.
        cards = [Path(adapter), Path(options.adapter)]
        write_merged_card(folder, adapter, merged.base, merged.parameters, merged.dtype, prompt, length, edits, cards)
    if options.json:
        print(json.dumps(asdict(merged)))
    else:
        measured = run.read("run.json").get("measured") if run else None
        commands = [
            ("a program", ["generate", merged.output, *example_arguments(example)]),
            ("the model, measured", ["evaluate", merged.output, *(measured or ["--eval_dataset_name", "TASKS"])]),
        ]
        base_name = "the playground's model" if is_playground_model(merged.base) else merged.base
        print(f"The adapter {merged.adapter} is merged into {base_name}.")
        print(f"The model is in {merged.output} ({merged.parameters:,} parameters in {merged.dtype}). Next:")
        print("\n".join(titled(commands)))
    return 0


def _run_of(name: str) -> RunFolder | None:
    """The run that an adapter is of, if its folder is here."""
    path = Path(name)
    return next((run for run in map(RunFolder, (path, path.parent)) if path.is_dir() and run.exists), None)


def _prompt(
    model: Path, example: Mapping[str, str | None], run: RunFolder | None, trust: bool
) -> tuple[str, int, bool]:
    """How the merged model is asked: the example, most tokens of a completion as in its run, and whether it writes edits."""
    recorded = recorded_options(str(run.root.parent)) if run else {}
    config = GiFTConfig("unused", **recorded, use_cpu=True, bf16=False, report_to="none")
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust)
    task = make_task(str(example["description"]), example["signature"], None)
    prompts = config.prompts(tokenizer, {tokenizer.eos_token_id})
    ids = prompts.write(task, task.description).ids
    return str(tokenizer.decode(ids)), config.completion_length, isinstance(prompts, EditPrompts)


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


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings() | {"model_name_or_path": ""}


def _parser() -> LineParser:
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
