"""What an experiment runs, read from a YAML file: its worlds, its arms and the options of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from trl_gift.errors import ConfigError

NONE = "none"
TAUGHT = "taught"
"""The teacher of an arm that has the one of `experiments.teacher`."""


@dataclass(frozen=True)
class World:
    """Tasks with or without reference solutions.

    Attributes:
        name: Its name in records.
        title: Its name for people.
        with_reference: Whether the training tasks have references.
        options: Options of `GiFTConfig` for all its arms.
    """

    name: str
    title: str
    with_reference: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way to train, in one world.

    Attributes:
        name: Its name.
        world: The name of its world.
        options: Its options of `GiFTConfig`, resolved.
        samples: The arm whose samples it selects from; itself, or `"none"` if it samples nothing.
        trains: Whether it trains; if not, the base model is measured.
        chains: Chains of each task, each with its own samples.
    """

    name: str
    world: str
    options: dict[str, Any]
    samples: str
    trains: bool = True
    chains: int = 1


@dataclass(frozen=True)
class Comparison:
    """Two arms that the page sets against each other.

    Attributes:
        arm: The one.
        against: The other, which is subtracted.
        about: What the difference is about, in words.
    """

    arm: str
    against: str
    about: str


@dataclass(frozen=True)
class Plan:
    """The whole experiment.

    Attributes:
        tasks: Number of training tasks.
        heldout: Number of held-out tasks.
        worlds: The worlds by name.
        arms: The arms of all worlds, in the order in which they run.
        comparisons: The ways to sample that are compared.
        variants: An arm with one option changed, against the arm without.
        part: Name of its part of the page, between two markers of that name, and the beginning of the names of its pictures.
        title: What the part is about, in its headings.
        cost: How the arms come to equal costs, as a sentence.
        ways: The arms of the first table.
        counts: The counts of an arm in that table.
        stepped: The arms whose steps are shown.
    """

    tasks: int
    heldout: int
    worlds: dict[str, World]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...] = ()
    variants: tuple[Comparison, ...] = ()
    part: str = "experiment"
    title: str = "The ways to sample"
    cost: str = "Every arm stops sampling at {max_tokens_per_round:,} generated tokens a round, descriptions counted."
    ways: tuple[str, ...] = ("base", "references", "gift", "rft", "rft+rd")
    counts: tuple[str, ...] = ("tokens", "passed", "solved_tasks", "distinct_programs", "pairs")
    stepped: tuple[str, ...] = ("gift", "rft")

    @property
    def markers(self) -> tuple[str, str]:
        """What begins and ends its part of the page."""
        return f"<!-- {self.part}: begin -->", f"<!-- {self.part}: end -->"

    def arm(self, world: str, name: str) -> Arm:
        """The arm of that name in that world."""
        return next(arm for arm in self.arms if (arm.world, arm.name) == (world, name))

    def digest(self, arm: Arm) -> str:
        """What an arm's figures depend on, besides its seed: figures of another digest are not its own."""
        source = asdict(self.arm(arm.world, arm.samples)) if arm.samples != NONE else None
        shape = [self.tasks, self.heldout, self.worlds[arm.world].with_reference, asdict(arm), source]
        return hashlib.blake2b(json.dumps(shape, sort_keys=True).encode(), digest_size=6).hexdigest()

    def chosen(self, worlds: list[str] | None, arms: list[str] | None) -> list[Arm]:
        """The arms of these worlds and names; None for all.

        Raises:
            ConfigError: for a name that the plan does not have.
        """
        for given, known in ((worlds, set(self.worlds)), (arms, {arm.name for arm in self.arms})):
            for name in given or ():
                if name not in known:
                    raise ConfigError(f"{name!r} is not in the plan; it has {', '.join(sorted(known))}.")
        return [arm for arm in self.arms if (not worlds or arm.world in worlds) and (not arms or arm.name in arms)]


def read_plan(path: Path) -> Plan:
    """The plan of a YAML file.

    Raises:
        ConfigError: if an arm names an arm that does not stand before it.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    worlds = {name: World(name=name, **value) for name, value in content["worlds"].items()}
    resolved: dict[str, dict[str, Any]] = {}
    arms: dict[str, list[Arm]] = {name: [] for name in worlds}
    for name, value in content["arms"].items():
        for other in (value.get("like"), value.get("samples")):
            if other not in (None, NONE, *resolved):
                raise ConfigError(f"{path.name}: the arm {name!r} names {other!r}; name an arm that stands before it.")
        resolved[name] = {**resolved.get(value.get("like"), {}), **value.get("options", {})}
        for world in value.get("worlds", worlds):
            arms[world].append(
                Arm(
                    name=name,
                    world=world,
                    options={**content["options"], **worlds[world].options, **resolved[name]},
                    samples=value.get("samples", name),
                    trains=value.get("trains", True),
                    chains=value.get("chains", 1),
                )
            )
    return Plan(
        content["tasks"],
        content["heldout"],
        worlds,
        tuple(arm for some in arms.values() for arm in some),
        tuple(Comparison(**one) for one in content.get("comparisons", ())),
        tuple(Comparison(**one) for one in content.get("variants", ())),
        **{name: content[name] for name in ("part", "title", "cost") if name in content},
        **{name: tuple(content[name]) for name in ("ways", "counts", "stepped") if name in content},
    )
