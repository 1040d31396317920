"""The part of `docs/experiments.md` between the two markers of a plan: tables, pictures and findings, all from `results.jsonl`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.intervals import Difference, difference
from experiments.pictures import differences, lines
from experiments.plan import Comparison, World
from experiments.results import Results
from trl_gift.common.files import whole_file
from trl_gift.errors import ConfigError
from trl_gift.playground.tasks import NUM_TASKS

COUNTS = {
    "tokens": "tokens",
    "passed": "programs passed",
    "solved_tasks": "tasks solved",
    "distinct_programs": "distinct programs",
    "repairs": "teacher's programs",
    "repaired": "of them passed",
    "pairs": "training pairs",
}
"""The counts of an arm, and what the table calls them."""
# Means of few chains are noise: a step counts if its samples are at least this share of those of the first step.
_FULL_STEP = 0.5


def write_page(results: Results, docs: Path) -> dict[str, float]:
    """Writes the part, and the pictures beside the page.

    Args:
        results: What is done.
        docs: The page with the two markers.

    Returns:
        Means of the arms as ratios to their comparison, by name.

    Raises:
        ConfigError: if the page does not hold both markers, or nothing can be compared.
    """
    text = docs.read_text(encoding="utf-8")
    begin, end = results.plan.markers
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ConfigError(f"{docs} must hold {begin} and {end} once each; add them where the part belongs.")
    worlds = [world for world in results.plan.worlds.values() if _compared(results, world, results.plan.comparisons)]
    if not worlds:
        raise ConfigError("no two arms of a comparison have two seeds in common; run more seeds.")
    before, after = text.split(begin)[0], text.split(end)[1]
    part = "\n\n".join([_setting(results, worlds), *(_world(results, world, docs.parent) for world in worlds)])
    if results.plan.variants:
        part = f"{part}\n\n{_options(results)}"
    with whole_file(docs) as temporary:
        temporary.write_text(f"{before}{begin}\n{part}\n{end}{after}", encoding="utf-8")
    return {
        f"{world.name}: {one.arm}/{one.against} {name}": statistics.fmean(first) / statistics.fmean(second)
        for world in worlds
        for one in results.plan.comparisons
        for name in ("pass@1", "distinct_programs")
        for first, second in [results.pairs(world.name, one.arm, one.against, name)]
        if first and any(second)
    }


def _setting(results: Results, worlds: Sequence[World]) -> str:
    plan = results.plan
    options = plan.arm(worlds[0].name, "gift").options
    sampled = {name for one in plan.comparisons for name in (one.arm, one.against)} & set(plan.ways)
    found = {len(results.of(world.name, arm)) for world in worlds for arm in sampled - {"references"}}
    seeds = sorted(found)
    repeats = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        f"{plan.tasks} training tasks, {'all ' * (plan.heldout == NUM_TASKS)}{plan.heldout} held-out tasks, the embedded model, full fine-tuning from the base "
        f"weights. {plan.cost.format(**options)} {repeats} seeds; arms are paired by seed. Differences are in points, with 95 % t-intervals over the seeds. "
        f"pass@{_k(results)} is estimated from {options['eval_num_generations']} programs a task at temperature 1. "
        "A difference *helps* or *harms* if its interval does not hold 0; of intervals that hold nothing real, one in twenty "
        "does so by chance."
    )


def _world(results: Results, world: World, docs: Path) -> str:
    name, plan = f"pass@{_k(results)}", results.plan
    rows = [
        [f"`{arm}`", *_means(results.of(world.name, arm).values(), plan.counts, _k(results))]
        for arm in plan.ways
        if results.of(world.name, arm)
    ]
    table = _table(
        ["arm", *(COUNTS[count] for count in plan.counts), "greedy pass@1, %", "sampled pass@1, %", f"{name}, %"],
        rows,
    )  # fmt: skip
    picture = f"{plan.part}-{world.name}.svg"
    compared = _compared(results, world, results.plan.comparisons)
    shown = [(f"{one.arm} − {one.against}", _differ(results, world, one)["pass@1"]) for one in compared]
    svg = differences(f"Greedy pass@1 {world.title}: differences of arms in points", shown)
    (docs / "assets" / picture).write_text(svg, encoding="utf-8")
    parts = [
        f"### {plan.title}, {world.title}",
        table,
        _comparisons(results, world, compared),
        f"![Greedy pass@1 {world.title}, differences of arms](assets/{picture})",
        "\n".join(f"- {_sentence(results, world, one)}" for one in compared),
    ]
    return "\n\n".join([*parts, *_stepped(results, world, docs)])


def _stepped(results: Results, world: World, docs: Path) -> list[str]:
    """The steps of the chains, if the plan shows any."""
    plan = results.plan
    steps = f"{plan.part}-{world.name}-steps.svg"
    sampled = [arm for arm in plan.stepped if results.of(world.name, arm)]
    if not sampled:
        return []
    figures = {arm: _steps(results.of(world.name, arm).values()) for arm in sampled}
    curves = [
        (heading, {arm: [step[key] for step in found] for arm, found in figures.items()})
        for heading, key in (
            ("share of programs that pass", "yield"),
            ("new distinct programs", "distinct"),
            ("total variation from the marginal", "total_variation"),
        )
    ]
    (docs / "assets" / steps).write_text(lines(f"The steps {world.title}", curves), encoding="utf-8")
    return [
        f"#### The steps, {world.title}",
        _step_table(figures),
        _chain_table({arm: list(results.of(world.name, arm).values()) for arm in sampled}),
        f"![Yield, new distinct programs and total variation by step, {world.title}](assets/{steps})",
    ]


def _comparisons(results: Results, world: World, compared: Sequence[Comparison]) -> str:
    return _table(
        ["difference", "seeds", "greedy pass@1", "sampled pass@1", f"pass@{_k(results)}", "distinct programs",
         "tasks solved"],
        [[f"`{one.arm}` − `{one.against}`", *_cells(_differ(results, world, one), results)] for one in compared],
    )  # fmt: skip


def _options(results: Results) -> str:
    rows, sentences, missing = [], [], []
    for world in results.plan.worlds.values():
        lacking = []
        for one in results.plan.variants:
            if one in _compared(results, world, [one]):
                found = _differ(results, world, one)
                cells = _cells(found, results)
                rows.append([one.about, world.title, *cells[:2], *cells[3:5], found["pass@1"].finding])
                sentences.append(f"- {_sentence(results, world, one)}")
            elif any((arm.world, arm.name) == (world.name, one.arm) for arm in results.plan.arms):
                lacking.append(f"`{one.arm}`")
        if lacking:
            missing.append(f"{world.title}: {', '.join(lacking)}")
    parts = ["### The options of the chain"]
    if rows:
        head = ["option", "world", "seeds", "greedy pass@1", f"pass@{_k(results)}", "distinct programs", "pass@1"]
        parts += [
            "Each row is `gift` with the option less `gift` without it.",
            _table(head, rows),
            "\n".join(sentences),
        ]
    if missing:
        parts.append("In the plan, but not run with two seeds so far, " + "; ".join(missing) + ".")
    return "\n\n".join(parts)


def _sentence(results: Results, world: World, one: Comparison) -> str:
    """The finding of a comparison in words, from its intervals alone."""
    found = _differ(results, world, one)
    named = {"pass@1": "greedy pass@1", f"sampled_pass@{_k(results)}": f"pass@{_k(results)}"}
    by_finding: dict[str, list[str]] = {}
    for name, words in named.items():
        by_finding.setdefault(found[name].finding, []).append(f"{words} ({found[name].text(100)})")
    claims = [
        f"no difference is seen in {' or '.join(those)}" if finding == "no difference seen" else
        f"it {finding} {' and '.join(those)}"
        for finding, those in by_finding.items()
    ]  # fmt: skip
    about = one.about[0].upper() + one.about[1:]
    return f"{about}, {world.title}: {'; '.join(claims)}."


def _compared(results: Results, world: World, comparisons: Sequence[Comparison]) -> list[Comparison]:
    return [one for one in comparisons if len(results.pairs(world.name, one.arm, one.against, "pass@1")[0]) >= 2]


def _differ(results: Results, world: World, one: Comparison) -> dict[str, Difference]:
    names = ["pass@1", "sampled_pass@1", f"sampled_pass@{_k(results)}", "distinct_programs", "solved_tasks"]
    found = {name: difference(*results.pairs(world.name, one.arm, one.against, name)) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _cells(found: dict[str, Difference], results: Results) -> list[str]:
    shares = [found[name].text(100) for name in ("pass@1", "sampled_pass@1", f"sampled_pass@{_k(results)}")]
    return [
        str(found["pass@1"].seeds),
        *shares,
        *(found[name].text() for name in ("distinct_programs", "solved_tasks")),
    ]


def _means(records: Any, counted: Sequence[str], k: int) -> list[str]:
    records = list(records)
    counts = [
        f"{statistics.fmean(one[name] for one in records):,.0f}" if all(name in one for one in records) else ""
        for name in counted
    ]
    shares = [
        f"{100 * statistics.fmean(one[name] for one in records):.1f}"
        for name in ("pass@1", "sampled_pass@1", f"sampled_pass@{k}")
    ]
    return [*counts, *shares]


def _steps(records: Any) -> list[dict[str, float | None]]:
    """Means over the seeds of each step that is nearly whole; a step's fidelity is of the descriptions it began with."""
    found = []
    for step in range(max(len(one["steps"]) for one in records)):
        here = [
            {**one["steps"][step], "fidelity": one.get("fidelity", {}).get(str(step))}
            for one in records
            if step < len(one["steps"])
        ]
        if statistics.fmean(one["samples"] for one in here) < _FULL_STEP * statistics.fmean(
            one["steps"][0]["samples"] for one in records
        ):
            break
        found.append(
            {key: _mean([one[key] for one in here]) for key in ("yield", "distinct", "total_variation", "fidelity")}
            | {"leaks": _ratio(sum(one["leaks"] for one in here), sum(one["drawn"] for one in here))}
        )
    return found


def _step_table(figures: dict[str, list[dict[str, float | None]]]) -> str:
    rows = [
        [f"`{arm}`", str(step), _percent(one["yield"]), f"{one['distinct']:.0f}", _decimal(one["total_variation"]),
         _percent(one["fidelity"]), _percent(one["leaks"])]
        for arm, found in figures.items()
        for step, one in enumerate(found)
    ]  # fmt: skip
    head = ["arm", "step", "programs passed, %", "new distinct programs", "total variation from the marginal",
            "true descriptions, %", "leaks, %"]  # fmt: skip
    return _table(head, rows)


def _chain_table(records: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for arm, those in records.items():
        lags = [_decimal(_mean([one["autocorrelation"][lag] for one in those])) for lag in ("1", "2", "3")]
        started = [_ratio(one["stuck"], one["chains"] - one["never_started"]) for one in those]
        never = _percent(_mean([one["never_started"] / one["chains"] for one in those]))
        rows.append([f"`{arm}`", *lags, never, _percent(_mean(started))])
    head = ["arm", "same idiom after 1 step, kappa", "after 2", "after 3", "chains that never start, %",
            "started chains that stick, %"]  # fmt: skip
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines_of = [head, [" --- ", *(" ---: " for _ in head[1:])]]
    text = [f"| {' | '.join(cell.strip() for cell in row)} |" for row in [*lines_of, *rows]]
    return "\n".join(text)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}".replace("-", "−")


def _k(results: Results) -> int:
    """The largest k of pass@k."""
    return max(results.plan.arms[0].options["eval_k"])
