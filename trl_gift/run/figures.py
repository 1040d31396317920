"""What a round did, in numbers, as `metrics.json` holds them and the trackers get them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trl_gift.run.harvest import Harvest
from trl_gift.training.pairs import TrainingPairs
from trl_gift.training.selection import SelectedCode


def round_figures(
    round_index: int, codes: Harvest, selected: Sequence[SelectedCode], pairs: TrainingPairs, num_seeds: int
) -> dict[str, int]:
    """The round's own samples, and the seeds solved and distinct programs found by all the samples that count.

    In a run that does not verify, `unverified` counts the codes that may be selected, nothing passes and no seed counts
    as solved: nobody knows.
    """
    return {
        "round": round_index,
        "seeds": num_seeds,
        "solved_seeds": codes.solved_tasks,
        "samples": codes.samples,
        "passed": codes.passed,
        "unverified": codes.unverified,
        "no_code": codes.no_code,
        "unique_codes": codes.unique_codes,
        "tokens": codes.tokens,
        "selected": sum(code.count for code in selected),
        "pairs": len(pairs.pairs),
        "references": pairs.num_references,
        "too_long": pairs.num_too_long,
        "unfit_references": pairs.num_unfit,
    }


def logged_figures(content: Mapping[str, Any], tokens_per_second: float | None) -> dict[str, float]:
    """The numbers of a round for the trackers, from what `metrics.json` holds of it.

    Args:
        content: The content of `metrics.json`.
        tokens_per_second: Tokens sampled in a second by all processes together, over the whole sampling stage; None
            where this process sampled nothing.
    """
    logged = {name: value for name, value in content.items() if isinstance(value, int | float) and name != "round"}
    if content["unverified"]:
        for unknown in ("passed", "solved_seeds"):  # nothing was run
            del logged[unknown]
    else:
        logged["yield"] = content["passed"] / content["samples"]
    if tokens_per_second is not None:
        logged["tokens_per_second"] = tokens_per_second
    for stage, seconds in content["seconds"].items():
        logged["seconds" if stage == "total" else f"{stage}_seconds"] = seconds
    if gain := content.get("gain"):
        logged |= {"gain": gain["pass@1"], "gain_low": gain["low"], "gain_high": gain["high"]}
    return {f"round/{name}": value for name, value in logged.items()}


def round_line(figures: Mapping[str, int], verified: bool) -> str:
    """What the round did, as a person reads it."""
    if verified:
        unsolved = figures["seeds"] - figures["solved_seeds"]
        found = (
            f"{figures['passed']} of {figures['samples']} codes passed; {unsolved} of {figures['seeds']} seeds have no "
            "passing code"
        )
    else:
        found = (
            f"{figures['unverified']} of {figures['samples']} completions hold a code; none was run (verify=False), "
            "nobody knows which are correct"
        )
    return f"round {figures['round']}: {found}; trained on {figures['pairs']} pairs."
