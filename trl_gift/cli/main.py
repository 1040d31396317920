"""`trl-gift`: the command line. Each command is a thin module; this one picks it and turns mistakes into one line.

Exit codes: 0 done, 1 a failure while running, 2 bad input (one clear line on standard error), 130 interrupted,
141 the reader of the output closed it.
"""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from trl_gift import __version__
from trl_gift.cli.lines import nearest
from trl_gift.common.spelling import spell
from trl_gift.errors import StageUnavailable, UserError
from trl_gift.sandbox import IsolationUnavailable

COMMANDS = {
    "quickstart": "watch the embedded model improve on its own verified programs, offline, on a CPU",
    "train": "sample, execute, select, fine-tune, evaluate: the rounds of GiFTTrainer",
    "sample": "the first half of a round only: sample and execute programs, select",
    "evaluate": "pass@1 and pass@k of a model, an adapter or a run, on sets of tasks; compared with another",
    "compare": "several configs on the same seeds, and their paired differences",
    "generate": "let a trained model write a program, and run it on tests",
    "show": "a run in the terminal: its table, its samples, a chain as a story",
    "report": "a run as one HTML page: figures, charts, a browser of its samples",
    "merge": "add a LoRA adapter to its unquantised base model",
    "export": "a run's programs as preference pairs and other data sets for TRL's trainers",
    "validate": "run the references of a task set; find tests that cannot fail",
    "convert": "tasks of functions as tasks of standard input and output, for any language",
    "lintseq": "programs of an instruction dataset as edit sequences whose states lint clean",
    "estimate": "tokens, programs, hours, memory and disk of a run, before it starts",
    "doctor": "versions, device, languages, and which isolation layers are enforced here",
}
HELP_TEXTS = Path(__file__).with_name("help")
"""The help of the commands that take seconds to import what they need; `tools/help_texts.py` writes it."""

_RESUMABLE = ("quickstart", "train", "sample", "worker", "lintseq")
_WORKER = "worker"  # one process of a run, started by `train`


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()  # a closed pipe shows here at the latest
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it at its end
        return 128 + signal.SIGPIPE


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "--help-all"):
        print(_usage())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    name, *rest = arguments
    if name not in COMMANDS and name != _WORKER:
        hint = nearest(name, COMMANDS) or f"use one of {', '.join(COMMANDS)}."
        return _complain(f"{name!r} is not a command; {hint}")
    if rest in (["-h"], ["--help"]) and (text := HELP_TEXTS / f"{name}.txt").is_file():
        print(text.read_text(encoding="utf-8"), end="")
        return 0
    _quieten()
    # Loaded late: `doctor` must answer even where torch cannot be imported. `names` says how its options are spelled.
    command = importlib.import_module(f"trl_gift.cli.{name}")
    try:
        return int(command.run(rest))
    except UserError as error:
        return _complain(spell(str(error), command.names()))
    except IsolationUnavailable as error:
        return _complain(str(error))
    except _out_of_memory() as error:
        return _complain(f"out of memory ({str(error).splitlines()[0]}); {_what_fits(name, rest)}")
    except StageUnavailable as error:
        kept = "\nWhat was sampled is kept; continue with --resume." if name in _RESUMABLE else ""
        print(f"trl-gift: {spell(str(error), command.names())}{kept}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = f"; what was sampled is kept; continue with {_resuming(name, rest)}" if name in _RESUMABLE else ""
        print(f"trl-gift: interrupted{kept}.", file=sys.stderr)
        return 130


def _resuming(name: str, argv: Sequence[str]) -> str:
    """The command that continues an interrupted one; only its option where a secret was typed."""
    from trl_gift.run.wording import names_secret  # an interrupted command has loaded it

    if name == _WORKER or any(map(names_secret, argv)):
        return "--resume"
    return f"`{shlex.join(['trl-gift', name, *argv, *(() if '--resume' in argv else ('--resume',))])}`"


def _quieten() -> None:
    """Hides warnings of libraries about each other, which the user of a command cannot fix."""
    # On some CPUs its import complains about a kernel that nothing here needs.
    logging.getLogger("bitsandbytes.backends.cpu").setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub.utils._http").addFilter(_SaidOnce())
    # TRL's default for gradient checkpointing uses the name that transformers 5.23 deprecates.
    warnings.filterwarnings("ignore", "`gradient_checkpointing", FutureWarning)
    # And peft, when it wraps a model, one that transformers 5.23 deprecates.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing", FutureWarning)


class _SaidOnce(logging.Filter):
    """One plain line instead of those about each retry of a request to the Hub."""

    said = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Drops the record."""
        if not self.said:
            self.said = True
            print("the Hub does not answer; trying again for some seconds", file=sys.stderr, flush=True)
        return False


def _out_of_memory() -> tuple[type[Exception], ...]:
    torch = sys.modules.get("torch")
    return (torch.OutOfMemoryError,) if torch is not None else ()


def _what_fits(name: str, argv: Sequence[str]) -> str:
    """The end of the line about a full memory: what to do."""
    if name in ("train", "sample", _WORKER):
        from trl_gift.cli.following import dry_run_command

        command = dry_run_command(argv[1:] if name == _WORKER else argv)
        return f"`{command}` says what fits. What was sampled is kept."
    if name == "quickstart":
        return "give a smaller --batch-size. What was sampled is kept."
    if name == "estimate":
        return "add --no-calibration, which loads no weights."
    return "give --load_in_4bit or a smaller model." if name in ("evaluate", "generate") else "use a larger machine."


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: trl-gift COMMAND [options]\n\nSelf-training of code models on their own verified programs.\n\n"
        f"commands:\n{commands}\n\n`trl-gift COMMAND --help` describes the options of a command.\n"
        "Exit codes: 0 done, 1 a failure while running, 2 bad input, 130 interrupted."
    )


def _complain(message: str) -> int:
    print(f"trl-gift: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
