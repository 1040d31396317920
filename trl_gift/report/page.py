"""The report: one HTML file that needs no network, is readable on a phone, and holds a browser of samples.

What a model has written is never part of the page's markup. The templates escape every value, and the script puts texts
into the page as text. The page's own policy lets no other script run: it names the one script by its hash.

The same run gives the same bytes; the page does not say when it was made.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any

from trl_gift.common.files import whole_file
from trl_gift.common.words import agree, plural
from trl_gift.errors import ConfigError
from trl_gift.playground import is_playground_model
from trl_gift.report.choice import left_out
from trl_gift.report.figures import OUTCOMES, Figures, gather
from trl_gift.report.highlight import language_of
from trl_gift.report.panels import panels
from trl_gift.report.payload import Payload
from trl_gift.report.rendering import percent, points, render, template_text
from trl_gift.report.rounds import RoundLine
from trl_gift.report.run import BASE, Run, load_run
from trl_gift.run.ending import sentence, troubles_of
from trl_gift.run.methods import Learned, has_teacher, method_of
from trl_gift.sampling.records import PASSED

DEFAULT_SAMPLES = 2000
"""Number of samples that a page holds unless it is told otherwise."""

_FILE = "report.html"
_PROGRAMS_LOOKED_AT = 50


@dataclass(frozen=True, slots=True)
class Written:
    """A report on disk.

    Attributes:
        path: The file.
        bytes: Its size.
        samples: Number of samples that it holds.
        left_out: Number of samples that it leaves out.
    """

    path: str
    bytes: int
    samples: int
    left_out: int

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a page does not hold.

    Attributes:
        samples: Number of samples by outcome.
        attempts: Number of greedy programs of evaluations.
        whole_tasks: Number of tasks of which it holds all samples.
    """

    samples: Mapping[str, int]
    attempts: int
    whole_tasks: int


def report_of(output_dir: str | Path) -> Path:
    """Writes the report of a run to `output_dir/_gift/report.html` and returns its path.

    Args:
        output_dir: The run's output folder.

    Raises:
        ConfigError: if the folder holds no run, or one that cannot be read.
    """
    run = load_run(output_dir)
    return Path(write_report(run, run.folder / _FILE).path)


def write_report(run: Run, path: str | Path | None = None, most_samples: int = DEFAULT_SAMPLES) -> Written:
    """Writes the report of a run, whole or not at all.

    Args:
        run: The run; it may be unfinished.
        path: The file; `_gift/report.html` in the run's output folder if None.
        most_samples: Number of samples that the page may hold.

    Raises:
        ConfigError: if the file's folder does not exist, or a file of the run cannot be read.
    """
    target = run.folder / _FILE if path is None else Path(path).expanduser()
    if not target.parent.is_dir():
        raise ConfigError(f"{target}: no such folder; make it first.")
    if target.is_dir():
        raise ConfigError(f"{target} is a folder; name a file in it, such as {target / _FILE}.")
    figures = gather(run, most_samples)
    payload, missing = _fill(run, figures, most_samples)
    total, held = sum(figures.totals.values()), sum(payload.held.values())
    text = _page(run, figures, payload, missing)
    with whole_file(target) as temporary:
        size = temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return Written(str(target), size, held, total - held)


def _fill(run: Run, figures: Figures, most_samples: int) -> tuple[Payload, LeftOut]:
    """What the page holds, and what it leaves out."""
    wholes, others = list(figures.choice.whole_tasks()), list(figures.choice.others())
    programs = (entry.program for entry in chain(*wholes, others) if entry.status == PASSED)
    payload = Payload(language_of(islice(programs, _PROGRAMS_LOOKED_AT)), most_samples)
    changed = {name for item in figures.changed for name in (*item.gained, *item.lost)}
    attempts = [
        (number, [attempt for attempt in run.read_attempts(number) if attempt["index"] < 0])
        for number in (BASE, *run.round_numbers)
    ]
    missing = 0
    # Tasks that were gained or lost come first; people ask for these by name.
    for first in (True, False):
        for number, found in attempts:
            missing += payload.add_attempts(number, [item for item in found if (item["task_id"] in changed) == first])
    whole = sum(payload.add_samples(group) for group in wholes)
    for entry in others:
        payload.add_samples([entry])
    return payload, LeftOut(left_out(figures.totals, payload.held), missing, whole)


def _page(run: Run, figures: Figures, payload: Payload, missing: LeftOut) -> str:
    style, script = template_text("report.css"), template_text("report.js")
    held = [name for name in OUTCOMES if any(status == name for _, status in payload.held)]
    data = payload.to_json(outcomes=held, rounds=run.round_numbers)
    return render(
        "report.html",
        run=run,
        model=title(run),
        lead=lead(run),
        headline=headline(run),
        tiles=tiles(run, figures),
        figures=figures,
        panels=panels(run, figures),
        state=state(run),
        troubles=[
            run.wording.phrase(line) for line in (*troubles_of(run.measured, run.options, run.wording), *run.left_out)
        ],
        total=sum(figures.totals.values()),
        held=sum(payload.held.values()),
        missing=missing,
        style=style,
        script=script,
        data=data,
        style_hash=_digest(style),
        script_hash=_digest(script),
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def title(run: Run) -> str:
    """The heading: the model, and that the run is a quickstart if it is one."""
    is_quickstart = (run.wording.command or ())[:1] == ("quickstart",)
    return f"Quickstart: {model_name(run.model)}" if is_quickstart else model_name(run.model)


def model_name(name: str) -> str:
    """The model's name; of a folder its last two parts, because a report may be shown to others."""
    if is_playground_model(name):
        return "the playground's model"
    path = PurePath(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() else name


def lead(run: Run) -> str:
    """What the model was trained on, with what method and for how long, without a full stop."""
    counts = [(item["pairs"], item["references"]) for item in run.measured[: run.final_round]]
    method = method_of(str(run.options["sampler"])).name
    learned = (
        Learned.of(counts, bool(run.options.get("restart_from_base", True))).line(
            run.verified, run.drawn_by, has_teacher(run.options)
        )
        if counts
        else ""
    )
    return (
        f"{learned[:1].upper()}{learned[1:]}{': ' if counts else ''}{method}, {len(run.measured)} of "
        f"{plural(run.options['num_rounds'], 'round')}, {plural(run.num_tasks, 'task')}"
    )


def state(run: Run) -> str:
    """What is still to come, as a sentence; empty for a finished run."""
    wanted, done = run.options["num_rounds"], len(run.measured)
    if done >= wanted:
        return ""
    if len(run.round_numbers) > done:
        return f"This run is unfinished: round {done + 1} of {wanted} has begun. The page shows what exists so far."
    return f"This run is unfinished: {done} of {plural(wanted, 'round')} {agree(done, 'is', 'are')} done. The page shows what exists so far."


def headline(run: Run) -> str:
    """What the run has shown, in one or two sentences."""
    lines = run.lines
    rounds = [line for line in lines if line.gain is not None]
    if not rounds:
        if run.base and "pass@1" in run.base:
            return (
                f"The base model solves {percent(run.base['pass@1'])} of the held-out tasks; no round is measured yet."
            )
        return "Nothing was measured, because the run has no evaluation tasks."
    shown = next((line for line in rounds if line.final), rounds[-1])
    assert shown.gain is not None
    assert shown.gain_interval is not None
    low, high = shown.gain_interval
    return (
        f"After {shown.title} the model solves {percent(shown.pass_at_1)} of the held-out tasks, the base model "
        f"{percent(run.base['pass@1'])}. The paired difference is {points(shown.gain)} points, with a 95 % interval from "
        f"{points(low)} to {points(high)}. {sentence(run.measured, run.final_round)}"
    )


def tiles(run: Run, figures: Figures) -> list[tuple[str, str, str]]:
    """The figures at the top: a name, a value, and what it is compared with."""
    found: list[tuple[str, str, str]] = []
    rounds = [line for line in run.lines if line.samples is not None]
    shown: RoundLine | None = next((line for line in rounds if line.final), rounds[-1] if rounds else None)
    if shown and shown.pass_at_1 is not None and run.base:
        found.append(("pass@1", percent(shown.pass_at_1), f"base {percent(run.base.get('pass@1'))}"))
    if shown and shown.gain is not None and shown.gain_interval is not None:
        low, high = shown.gain_interval
        found.append(("paired gain", f"{points(shown.gain)} points", f"95 %: {points(low)} to {points(high)}"))
    if shown and shown.solved is not None:
        found.append(("tasks solved", f"{shown.solved:,}", f"of {shown.tasks:,} to learn from"))
    samples = sum(item.samples.samples for item in figures.rounds)
    passed = sum(item.samples.passed for item in figures.rounds)
    if run.verified and samples:
        found.append(("programs passed", percent(passed / samples), f"{passed:,} of {samples:,}"))
    if shown and shown.distinct is not None:
        found.append(("distinct programs", f"{shown.distinct:,}", plural(shown.pairs or 0, "training pair")))
    return found
