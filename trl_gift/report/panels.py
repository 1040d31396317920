"""The charts of the page: for each its heading, the picture, what it means, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trl_gift.report import charts
from trl_gift.report.figures import OUTCOMES, Figures, RoundFigures, finite
from trl_gift.report.rendering import duration, number, percent, points
from trl_gift.report.rounds import RoundLine
from trl_gift.report.run import Run

_FAINTEST, _STRONGEST = 0.3, 1.0


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart with its words.

    Attributes:
        group: The section that it belongs to.
        title: Its heading.
        text: What it shows, for people.
        svg: The picture, as markup in which all text is escaped.
        columns: Names of the columns of its table.
        rows: The table's rows; the first cell of each is its name.
        legend: Names of the parts that have a colour of their own.
    """

    group: str
    title: str
    text: str
    svg: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    legend: Sequence[str] = ()


def panels(run: Run, figures: Figures) -> list[Panel]:
    """All charts that the run has figures for."""
    rounds = [item for item in figures.rounds if item.samples.samples]
    further = [_measured(run.lines_of(name), name) for name in run.other_base]
    found = [
        _measured(run.lines, run.eval_set),
        *further,
        *_chain(run, rounds),
        _outcomes(rounds),
        *_selection(rounds),
        _time(rounds),
    ]
    return [panel for panel in found if panel]


def _measured(round_lines: Sequence[RoundLine], name: str) -> Panel | None:
    """The measures of a set of tasks, whose name may be empty."""
    lines = [(line, line.interval) for line in round_lines if line.pass_at_1 is not None]
    if not lines:
        return None
    measured = [
        charts.Measured(line.title, line.pass_at_1, *interval)
        for line, interval in lines
        if line.pass_at_1 is not None and interval
    ]
    values = ", ".join(f"{item.name} {100 * item.value:.1f} %" for item in measured)
    rows = [
        [
            line.title + (" (final)" if line.final else ""),
            percent(line.pass_at_1),
            f"{percent(interval[0])} – {percent(interval[1])}" if interval else "–",
            "" if line.gain is None else points(line.gain),
            f"{points(line.gain_interval[0])} to {points(line.gain_interval[1])}" if line.gain_interval else "",
            *(f"{percent(value)} ({percent(low)} – {percent(high)})" for _, value, (low, high) in line.others),
        ]
        for line, interval in lines
    ]
    others = [name.removeprefix("sampled_") + " sampled" for name, *_ in lines[0][0].others]
    title = f"pass@1 after each round{f', {name}' if name else ''}"
    return Panel(
        "measured",
        title,
        "Share of held-out tasks that the greedy program solves. Whiskers are 95 % intervals; the dashed line is the base "
        "model.",
        charts.interval_chart(title, f"pass@1: {values}.", measured),
        ["", "pass@1", "95 % interval", "gain (points)", "95 % interval", *others],
        rows,
    )


def _chain(run: Run, rounds: Sequence[RoundFigures]) -> list[Panel]:
    steps = max((len(item.samples.chain) for item in rounds), default=0)
    if not steps:
        return []
    found = []
    if run.verified:
        found += [
            _by_step(
                "Tasks solved by step",
                "Tasks with a passing program up to and including each step of the chain.",
                rounds,
                [[step.solved_tasks for step in item.samples.chain] for item in rounds],
                whole=True,
            ),
            _by_step(
                "Pass rate by step",
                "Share of the programs of each step that pass.",
                rounds,
                [[step.pass_rate for step in item.samples.chain] for item in rounds],
                share=True,
            ),
        ]
    found += [
        _by_step(
            "Description length by step",
            "Mean length of the descriptions that programs are written from, in characters. Descriptions that grow or "
            "fade show a chain that drifts away from its task.",
            rounds,
            [[step.description_length for step in item.samples.chain] for item in rounds],
        ),
        _by_step(
            "Perplexity by step",
            "Geometric mean of the perplexities of all programs of a step. A steady rise or fall is drift.",
            rounds,
            [[finite(step.mean_perplexity) for step in item.samples.chain] for item in rounds],
            from_zero=False,
        ),
    ]
    return found


def _by_step(
    title: str,
    text: str,
    rounds: Sequence[RoundFigures],
    values: Sequence[Sequence[float | None]],
    share: bool = False,
    from_zero: bool = True,
    whole: bool = False,
) -> Panel:
    form = percent if share else number
    series = [
        charts.Series(f"round {item.number}", found, strength)
        for item, found, strength in zip(rounds, values, strengths(len(rounds)), strict=True)
    ]
    ends = "; ".join(
        f"round {item.number} from {form(found[0])} to {form(found[-1])}"
        for item, found in zip(rounds, values, strict=True)
    )
    steps = max(len(found) for found in values)
    rows = [
        [str(step), *(form(found[step]) if step < len(found) else "–" for found in values)] for step in range(steps)
    ]
    picture = charts.line_chart(
        title, f"{title}: {ends}.", "step", series, charts.as_percent if share else charts.as_number, from_zero, whole
    )
    return Panel("chain", title, text, picture, ["step", *(f"round {item.number}" for item in rounds)], rows)


def strengths(count: int) -> list[float]:
    """Opacities of the lines of rounds: the latest stands out."""
    if count == 1:
        return [_STRONGEST]
    return [_FAINTEST + (_STRONGEST - _FAINTEST) * place / (count - 1) for place in range(count)]


def _outcomes(rounds: Sequence[RoundFigures]) -> Panel | None:
    if not rounds:
        return None
    present = [name for name in OUTCOMES if any(item.statuses.get(name) for item in rounds)]
    bars = [(f"round {item.number}", {name: item.statuses.get(name, 0) for name in present}) for item in rounds]
    words = "; ".join(
        f"{label}: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in parts.items() if count)
        for label, parts in bars
    )
    return Panel(
        "outcomes",
        "Outcomes by round",
        "What happened to the programs of each round when they were run against the tests of their tasks.",
        charts.stacked_bars("Outcomes by round", f"{words}.", bars),
        ["", *(name.replace("_", " ") for name in present)],
        [[label, *(f"{parts[name]:,}" for name in present)] for label, parts in bars],
        present,
    )


def _selection(rounds: Sequence[RoundFigures]) -> list[Panel]:
    known = [(item.number, item.perplexities) for item in rounds if item.perplexities]
    if not known:
        return []
    latest, shown = known[-1]
    title = "Perplexities before and after selection"
    rows = [
        [
            f"round {place}",
            f"{item.programs:,}",
            f"{item.draws:,}",
            f"{item.median_before:.3f}",
            f"{item.median_after:.3f}",
        ]
        for place, item in known
    ]
    return [
        Panel(
            "selection",
            title,
            f"Programs that round {latest} could train on, each once, and as often as they were drawn. A distribution "
            "further to the right means that rare programs were preferred. The last bar also holds all higher perplexities.",
            charts.histogram(
                title,
                f"Median {shown.median_before:.3f} before and {shown.median_after:.3f} after selection in round {latest}.",
                "perplexity",
                shown.edges,
                shown.before,
                shown.after,
            ),
            ["", "programs", "draws", "median before", "median after"],
            rows,
            ("before", "after"),
        )
    ]


def _time(rounds: Sequence[RoundFigures]) -> Panel | None:
    timed = [item for item in rounds if item.seconds]
    if not timed:
        return None
    stages = list(dict.fromkeys(stage for item in timed for stage in item.seconds))
    rows = [
        [
            f"round {item.number}",
            f"{item.samples.tokens:,}",
            f"{item.executed:,}",
            *(duration(item.seconds.get(stage)) for stage in stages),
            duration(sum(item.seconds.values())),
        ]
        for item in timed
    ]
    title = "Where the time went"
    words = "; ".join(f"round {item.number} took {duration(sum(item.seconds.values()))}" for item in timed)
    return Panel(
        "costs",
        title,
        "Wall time of each round by stage. Tokens include those of descriptions.",
        charts.stacked_bars(title, f"{words}.", [(f"round {item.number}", item.seconds) for item in timed]),
        ["", "tokens", "programs run", *stages, "total"],
        rows,
        stages,
    )
