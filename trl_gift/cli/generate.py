"""`trl-gift generate`: a trained model writes a program, and the sandbox runs it on tests.

The program is on standard output, the verdict and bars on standard error; with `--json`, one JSON object is on standard
output instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_gift import codetext
from trl_gift.cli.lines import LineParser, check_at_least
from trl_gift.common.words import plural
from trl_gift.errors import ConfigError
from trl_gift.playground import named_model

if TYPE_CHECKING:
    from trl_gift.evaluation import Attempt

_NOT_WRITTEN = 1


def run(argv: Sequence[str]) -> int:
    """Writes a program; the exit code says whether there is one that passes."""
    options = _parser().parse_args(argv)
    check_at_least(1, {"-n": options.n, "--max_completion_length": options.max_completion_length})
    check_at_least(0, {"--temperature": options.temperature, "--refine_steps": options.refine_steps})
    if options.refine_steps and options.tests is None:
        raise ConfigError(
            f"--refine_steps {options.refine_steps}: nothing says that a program must be refined without tests; give --tests."
        )
    if options.temperature == 0 and options.n > 1:
        raise ConfigError(
            f"--temperature 0: greedy decoding writes the same program {options.n} times; leave -n or --temperature out."
        )
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
        record = _generate(options)
    if options.json:
        print(json.dumps(record))
    elif options.tests is None:
        print("\n\n".join(program["program"] for program in record["programs"] if program["program"] is not None))
    elif record["program"] is not None:
        print(record["program"])
    print(_verdict(record), file=sys.stderr)
    return 0 if record["status"] in ("passed", "unverified") else _NOT_WRITTEN


def _generate(options: argparse.Namespace) -> dict[str, Any]:
    # Loaded late, so that a mistake in the options is reported at once.
    import torch
    import transformers

    from trl_gift.config import GiFTConfig
    from trl_gift.generation import default_dtype
    from trl_gift.inference.generating import make_task, write
    from trl_gift.inference.loading import load
    from trl_gift.inference.sources import find_source, recorded_options

    transformers.utils.logging.disable_progress_bar()
    task = make_task(options.description, options.signature, _tests(options.tests))
    name = named_model(options.model)
    asked = recorded_options(name)
    if options.max_completion_length is not None:
        asked["max_completion_length"] = options.max_completion_length
    on_cpu = options.use_cpu or not torch.cuda.is_available()
    config = GiFTConfig(
        "unused",
        **asked,
        use_cpu=on_cpu,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        seed=options.seed,
        isolation=options.isolation,
        trust_remote_code=options.trust_remote_code,
    )
    base = named_model(options.base) if options.base else None
    source = find_source(name, base, options.revision)
    kinds: dict[str, Any] = {"dtype": options.dtype} if options.dtype else {}
    if options.load_in_4bit == "true":
        from transformers import BitsAndBytesConfig

        compute = options.dtype or source.loaded.dtype
        compute = compute or default_dtype(trains_weights=False, on_gpu=False if on_cpu else None)
        kinds["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=compute)
    elif options.load_in_4bit == "false":
        kinds["quantization_config"] = None
    loaded = load(source, config, **kinds)
    written = write(loaded, task, options.n, options.temperature, config, refine_steps=options.refine_steps)
    attempts = [attempt.refined for attempt in written]
    if task.signature is None:
        attempts = [_whole(attempt) for attempt in attempts]
    best = next((attempt for attempt in attempts if attempt.passed), None)
    best = best or next((attempt for attempt in attempts if attempt.code is not None), attempts[0])
    return {
        "program": best.code,
        "status": best.status,
        "message": best.message,
        "failing_test": best.failing_test,
        "trusted": best.trusted,
        "isolation": best.isolation,
        "tried": next((place for place, attempt in enumerate(attempts, 1) if attempt.passed), len(attempts)),
        "programs": [{"program": attempt.code, "status": attempt.status} for attempt in attempts],
        "refinements": [[asdict(turn) for turn in attempt.turns] for attempt in written],
        "measured": loaded.facts.to_record(),
    }


def _whole(attempt: Attempt) -> Attempt:
    """An attempt without a program if what the model wrote is only a part of one, such as the body of a function."""
    if attempt.code is None or codetext.parse(attempt.code) is not None:
        return attempt
    message = "what the model wrote is not a whole program; give --signature, such as 'def solve(xs):'"
    return replace(attempt, code=None, status="no_code", message=message)


def _tests(given: Sequence[str] | None) -> list[str] | str | None:
    """The tests: each text is a file, or is what a file would hold; one alone may be any form that a task takes."""
    if given is None:
        return None
    texts = []
    for item in given:
        path = Path(item)
        if path.suffix in (".py", ".json") or (len(item) < 256 and path.is_file()):
            if not path.is_file():
                raise ConfigError(f"--tests {item}: no such file; check the path, or give assertions.")
            texts.append(path.read_text(encoding="utf-8"))
        else:
            texts.append(item)
    return texts[0] if len(texts) == 1 else texts


def _verdict(record: dict[str, Any]) -> str:
    tried, total = record["tried"], len(record["programs"])
    count = f"program {tried} of {total}" if total > 1 else "the program"
    match record["status"]:
        case "passed":
            forgeable = "" if record["trusted"] else "; the program could have forged this verdict"
            return f"passed: {count} passes all tests{forgeable}"
        case "unverified":
            return "not run; give --tests to run it"
        case "no_code":
            why = f" ({record['message']})" if record["message"] else ""
            return f"no_code: {'no completion holds' if total > 1 else 'the completion does not hold'} a program{why}"
    # Most messages name the test.
    test, message = (" ".join((record[name] or "").split()) for name in ("failing_test", "message"))
    shown = f" ({record['failing_test']})" if test and test not in message else ""
    which = f"none of {plural(total, 'program')} passes; the one that is shown: " if total > 1 else ""
    return f"{record['status']}: {which}{record['message']}{shown}"


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings() | {"model_name_or_path": ""}


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift generate",
        description="Let a model write a program from a description, with the prompts of the training. The program is\n"
        "on standard output, the verdict on standard error.",
        epilog="Exit codes: 0 a program is written, and passes if there are tests; 1 no program passes, or no completion holds\n"
        "a program; 2 bad input.\n\n"
        "example:\n  trl-gift generate out 'Sum of the squares of xs.' --signature 'def solve(xs):' "
        "--tests 'assert solve([1, 2]) == 5' -n 8",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        metavar="MODEL_OR_RUN",
        help="folder or Hub name of a model or of an adapter, output_dir of a run (its trained model, asked as in the run), "
        "or 'playground'",
    )
    parser.add_argument("description", help="what the program should do, in words")
    parser.add_argument(
        "--signature", help="imports and the open def line that the program starts with, such as 'def solve(xs):'"
    )
    parser.add_argument(
        "--tests",
        nargs="+",
        metavar="TEST",
        help="what the program must pass, in the forms that a task takes: assertions, the path or source of a test file "
        "(pytest, unittest, doctests), or JSON of calls or of standard input and output",
    )
    parser.add_argument(
        "-n", type=int, default=1, help="write N programs; with --tests, the first that passes is shown"
    )
    parser.add_argument(
        "--refine_steps",
        type=int,
        default=0,
        metavar="N",
        help="let the model write a program that fails the tests again, at most N times; it sees the program and its first failure",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        help="of all programs; by default the first program is greedy, and the others are sampled at 1",
    )
    parser.add_argument(
        "--max_completion_length", type=int, metavar="TOKENS", help="of one program; the run's by default, or 512"
    )
    parser.add_argument("--seed", type=int, default=42, help="of the sampled programs (default: 42)")
    parser.add_argument("--base", help="base model of an adapter; the one that the adapter names by default")
    parser.add_argument("--revision", help="of the model or adapter on the Hub")
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="of the weights; by default that of the adapter's training, else bfloat16 on a GPU that has it, else float32",
    )
    parser.add_argument(
        "--load_in_4bit",
        nargs="?",
        const="true",
        choices=("true", "false"),
        help="load the model, or the adapter's base, in 4 bits, or unquantised; by default an adapter's base is loaded as in "
        "its training",
    )
    parser.add_argument("--trust_remote_code", action="store_true", help="run code of the model's repository")
    parser.add_argument("--use_cpu", action="store_true", help="run on the CPU also where there is a GPU")
    parser.add_argument(
        "--isolation",
        default="required",
        choices=("required", "none"),
        help="'none' runs the program without any isolation (default: required)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser
