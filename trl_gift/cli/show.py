"""`trl-gift show`: a run in the terminal: its table, its samples, a task's chain as a story. Needs no model and no torch."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trl_gift.cli.following import Command, titled, uses
from trl_gift.cli.lines import LineParser, check_at_least, nearest
from trl_gift.common.words import agree, plural
from trl_gift.errors import ConfigError
from trl_gift.lintseq import marked
from trl_gift.playground import is_playground_model
from trl_gift.prompts.edits import Growth, growth_of
from trl_gift.run.ending import run_text, unmeasured_line
from trl_gift.run.folder import RunFolder, drawn_by
from trl_gift.run.wording import how_to_resume, recorded_wording
from trl_gift.sampling.records import CHAIN, COPIED, NO_CODE, UNVERIFIED, CodeSample
from trl_gift.sampling.store import count_samples, is_complete, read_samples
from trl_gift.sandbox import Status

STATUSES = (*map(str, Status), NO_CODE, COPIED, UNVERIFIED)
_WIDTH = 110
_INDENT = "    "


def run(argv: Sequence[str]) -> int:
    """Shows a run; with filters, its samples; with `--task`, the chain of a task; with `--sample`, one sample."""
    options = _parser().parse_args(argv)
    check_at_least(1, {"--round": options.round, "--limit": options.limit})
    folder = open_run(options.run)
    unknown = sorted({*(options.status or ())} - {*STATUSES})
    if unknown:
        raise ConfigError(f"--status {unknown[0]}: no such status; use one of {', '.join(STATUSES)}.")
    _check_task(folder, options.task)
    samples = _chosen(folder, options) if options.sample is None else iter([_sample(folder, options.sample)])
    if options.json:
        for sample in samples:
            print(json.dumps(sample.to_record(), ensure_ascii=False))
        return 0
    if options.sample is not None:
        (sample,) = samples
        print(single(sample))
        return 0
    if options.task is None and not options.status and options.round is None and options.limit is None:
        print(overview(folder))
        return 0
    found = list(samples)
    if not found:
        command = shlex.join(["trl-gift", "show", options.run])
        print(f"no sample of {folder.root.parent} is like that; `{command}` lists what there is.")
        return 0
    print(story(found) if options.task is not None and not options.status else listing(found))
    return 0


def _check_task(run: RunFolder, task: str | None) -> None:
    """Checks that there is a sample of a task; the rounds have the same tasks, so mostly the first of them answers.

    Raises:
        ConfigError: if there is none.
    """
    if task is None:
        return
    known: dict[str, None] = {}
    for folder in run.sampled_rounds():
        for sample in read_samples(folder):
            if sample.task_id == task:
                return
            known[sample.task_id] = None
    hint = nearest(task, known) or (f"the run has {', '.join([*known][:3])}{', …' if len(known) > 3 else ''}.")
    raise ConfigError(f"--task {task!r}: the run has no sample of this task; {hint}")


def _sample(run: RunFolder, sample_id: str) -> CodeSample:
    """The sample of a name.

    Raises:
        ConfigError: if there is none.
    """
    known = ""
    for folder in run.sampled_rounds():
        for sample in read_samples(folder):
            if sample.sample_id == sample_id:
                return sample
            known = known or sample.sample_id
    raise ConfigError(
        f"--sample {sample_id!r}: the run has no such sample; give ROUND/TASK/STEP/INDEX"
        + (f", such as {known}." if known else ".")
    )


def open_run(path: str) -> RunFolder:
    """The run in an output folder, or in its `_gift` folder.

    Raises:
        ConfigError: if there is none.
    """
    folder = Path(path).expanduser()
    run = RunFolder(folder.parent if folder.name == "_gift" else folder)
    if not run.exists:
        reason = "holds no run (no _gift/run.json)" if folder.is_dir() else "does not exist"
        raise ConfigError(f"{path!r} {reason}; give the output_dir of a run.")
    return run


def overview(run: RunFolder) -> str:
    """The run's table, how the programs of each round ended, and what to look at next."""
    rounds, final = run.measured_rounds(), run.final_round
    base = run.read("base.json") if run.has("base.json") else None
    recorded = run.read("run.json")
    wording, folder = recorded_wording(recorded), run.root.parent
    lines = [
        f"{_model_of(recorded)}, {plural(recorded['tasks']['count'], 'task')}, sampler {recorded['options']['sampler']}"
        f"{f', drawn by {drawer}' if (drawer := drawn_by(recorded)) else ''}"
    ]
    if final is None:
        lines.append(f"Not finished: {_progress(run, recorded, len(rounds))}; {how_to_resume(recorded, folder)}.")
    if rounds:
        left_out = recorded.get("left_out", {}).get("tasks", ())
        lines += ["", wording.phrase(run_text(base, rounds, final, recorded["options"], left_out, wording))]
    if final is not None and base is None:
        lines += ["", wording.phrase(unmeasured_line(folder))]
    looks: list[Command] = []
    task = round_number = grown = ""
    seen: Counter[str] = Counter()
    for sampled in run.sampled_rounds():
        statuses: Counter[str] = Counter()
        for sample in read_samples(sampled):
            statuses[sample.status] += 1
            if not task and sample.continues and sample.step:
                task, round_number = sample.task_id, str(sample.round)
            if not grown and sample.passed and growth_of(sample.completion) is not None:
                grown = sample.sample_id
        seen += statuses
        counts = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
        lines += [
            "",
            f"{sampled.name.replace('-', ' ')}, {plural(statuses.total(), 'sample')}: {counts or 'none yet'}",
        ]
    if seen:
        status = _worth_a_look(seen)
        looks.append((f"three samples: {status}", ["show", str(folder), "--status", status, "--limit", "3"]))
    if task:
        looks.append(("a task's chain", ["show", str(folder), "--task", task, "--round", round_number]))
    if grown:
        looks.append(("a program, edit by edit", ["show", str(folder), "--sample", grown]))
    if seen:
        looks.append(("every sample, as JSON", ["show", str(folder), "--json"]))
    looks.append(("the run as a page", ["report", str(folder)]))
    model = next((place for place in (folder, folder / "model") if _holds_model(place)), None)
    if final is not None and model is not None:
        looks += uses(run, str(model))
    return _printable("\n".join([*lines, "", "Next:", *titled(looks)]))


def _model_of(recorded: Mapping[str, Any]) -> str:
    return "the playground's model" if is_playground_model(recorded["model"]) else str(recorded["model"])


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))


def _progress(run: RunFolder, recorded: Mapping[str, Any], measured: int) -> str:
    """How far a run has come that has not ended."""
    options, now = recorded["options"], measured + 1
    total = options["num_rounds"]
    done = f"{measured} of {plural(total, 'round')} {agree(measured, 'is', 'are')} done"
    if measured == total:
        return done
    folder = run.round(now)
    expected = recorded["tasks"]["count"] * options["num_steps"] * options["num_generations"]
    about = "at most" if options.get("max_tokens_per_round") else "about"
    if is_complete(folder):
        stage = f"round {now} is sampled, and not trained and measured yet"
    elif folder.is_dir():
        stage = f"round {now} has {count_samples(folder):,} of {about} {plural(expected, 'sample')}"
    elif not run.has("base.json") and recorded["eval_tasks"]["count"]:
        stage = "the base model is not measured yet"
    else:
        stage = f"round {now} has no sample yet"
    return f"{done}; {stage}"


def _worth_a_look(seen: Counter[str]) -> str:
    """A status that samples have: programs that failed first, then the most frequent of the others that did not pass."""
    others = [status for status, _ in seen.most_common() if status != Status.PASSED]
    return "failed" if Status.FAILED in others else next(iter(others), str(Status.PASSED))


def story(samples: Sequence[CodeSample]) -> str:
    """The chain of a task: each description, the programs that were written from it, and which one was read next."""
    lines = []
    step: tuple[int, int] | None = None
    for sample in samples:
        if (sample.round, sample.step) != step:
            step = sample.round, sample.step
            lines += ["", f"== {sample.task_id}, round {sample.round}, step {sample.step}: {_origin(sample)}", ""]
            lines += [textwrap.indent(_wrapped(sample.description), "  > ")]
        mark = "  -> the chain goes on from here" if sample.continues else ""
        lines += ["", f"{_heading(sample)}{mark}", *_body(sample)]
    return _printable("\n".join(lines).strip())


def listing(samples: Iterable[CodeSample]) -> str:
    """Samples one after the other, each with the description that it was written from."""
    blocks = []
    for sample in samples:
        blocks.append("\n".join([*_beginning(sample), _heading(sample), *_body(sample)]))
    return _printable("\n\n".join(blocks))


def single(sample: CodeSample) -> str:
    """A sample by itself; if the model wrote it in edits, the program after each of them, with the lines that came and went."""
    growth = growth_of(sample.completion)
    if growth is None:
        return listing([sample])
    lines = [*_beginning(sample), _heading(sample)]
    before = ""
    for number, (edit, state) in enumerate(zip(growth.edits, growth.states, strict=True), 1):
        lines += ["", f"edit {number} of {len(growth.edits)}"]
        lines += [f"{_INDENT}{sign} {_printable(line)}".rstrip() for sign, line in marked(edit, before)]
        before = state
    if growth.fault:
        lines += ["", textwrap.indent(_wrapped(f"malformed: {growth.fault}"), f"{_INDENT}! ")]
        return _printable("\n".join(lines))
    if sample.code is not None and sample.code != before:
        lines += ["", "the program that ran, with the task's signature", *_body(sample)]
    else:
        lines += _message(sample)
    return _printable("\n".join(lines))


def _beginning(sample: CodeSample) -> list[str]:
    """What a sample is, and the description that it was written from."""
    what = "" if sample.kind == CHAIN else f": {_taught(sample)}"
    return [f"== {sample.sample_id}{what}", textwrap.indent(_wrapped(sample.description), "  > ")]


def _taught(sample: CodeSample) -> str:
    """What a teacher wrote, from what, and who the teacher is."""
    # Of another model's tokens the ids are not recorded.
    teacher = "by the model itself" if sample.token_ids else f"by the teacher {sample.model_hash}"
    return f"a {sample.kind}{f' of {sample.parent}' if sample.parent else ''}, {teacher}"


def _origin(sample: CodeSample) -> str:
    if sample.kind != CHAIN:
        return _taught(sample)
    match sample.parent:
        case None:
            source = "the task's own words" if sample.description_tokens == 0 else "a paraphrase of the task's words"
        case "reference":
            source = "the reference, read back"
        case parent:
            source = f"{parent}, read back"
    return source + (f", with the hint {sample.hint}" if sample.hint else "")


def _heading(sample: CodeSample) -> str:
    perplexity = f", perplexity {sample.perplexity:.2f}" if sample.perplexity is not None else ""
    return f"[{sample.index}] {sample.status}{perplexity}, {plural(sample.num_tokens, 'token')}{_in_edits(sample)}"


def _in_edits(sample: CodeSample) -> str:
    growth: Growth | None = growth_of(sample.completion)
    return f", in {plural(len(growth.edits), 'edit')}" if growth is not None else ""


def _body(sample: CodeSample) -> list[str]:
    text = sample.completion if sample.code is None else sample.code
    return [textwrap.indent(_printable(text).rstrip(), _INDENT), *_message(sample)]


def _message(sample: CodeSample) -> list[str]:
    if not sample.message:
        return []
    failure = (sample.outcome or {}).get("first_failure")
    where = "" if failure is None else f"test {failure + 1}: "
    return [textwrap.indent(_wrapped(f"{where}{sample.message}"), f"{_INDENT}! ")]


def _wrapped(text: str) -> str:
    return "\n".join(
        textwrap.fill(line, _WIDTH, replace_whitespace=False) if line.strip() else ""
        for line in _printable(text).splitlines()
    )


def _printable(text: str) -> str:
    """Model-written text without what would steer a terminal."""
    return "".join(sign if sign in "\n\t" or sign.isprintable() else "\ufffd" for sign in text)


def _chosen(run: RunFolder, options: argparse.Namespace) -> Iterator[CodeSample]:
    folders = run.sampled_rounds()
    if options.round is not None:
        folders = [run.round(options.round)] if run.round(options.round) in folders else []
        if not folders:
            raise ConfigError(
                f"--round {options.round}: the run has {plural(len(run.sampled_rounds()), 'sampled round')}; give one of these."
            )
    left = options.limit if options.limit is not None else sys.maxsize
    for folder in folders:
        for sample in read_samples(folder):
            if options.task is not None and sample.task_id != options.task:
                continue
            if options.status and sample.status not in options.status:
                continue
            if left == 0:
                return
            left -= 1
            yield sample


def names() -> dict[str, str]:
    """How this command spells its options, by their names in Python."""
    return _parser().spellings()


def _parser() -> LineParser:
    parser = LineParser(
        prog="trl-gift show",
        description="Show a run in the terminal: its table, its samples, or the chain of a task as a story.",
        epilog="examples:\n  trl-gift show out\n  trl-gift show out --status failed error --round 2 --limit 5\n"
        "  trl-gift show out --task mbpp/601 --round 1\n  trl-gift show out --sample 1/mbpp/601/0/2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="the output_dir of a run, finished or not")
    parser.add_argument("--task", help="the samples of this task, as a story: description, programs, description, ...")
    parser.add_argument(
        "--sample",
        metavar="ROUND/TASK/STEP/INDEX",
        help="this sample alone; a program that was written in edits grows edit by edit",
    )
    parser.add_argument("--status", nargs="+", help="samples with one of these statuses, such as passed or no_code")
    parser.add_argument("--round", type=int, help="samples of this round")
    parser.add_argument("--limit", type=int, help="at most this many samples")
    parser.add_argument("--json", action="store_true", help="print the samples as JSON Lines, as they are recorded")
    return parser
