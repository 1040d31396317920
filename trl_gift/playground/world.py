"""A small world of programming tasks in which the joint distribution of descriptions and programs is known.

An *intention* is what a program should do: a pipeline of `L` operations on every element of a list, then one final.
It can be described in 4 *wordings* and written in 4 coding *idioms*. Intention, wording and idiom are drawn from

    P(intention, wording, idiom) = P(intention) P(wording) P(idiom | wording),

    P(intention) = P(element) P(L) · prod_t 1 / |kinds allowed at t| · 1 / |constants of the kind| · 1 / |finals|,

where a kind is allowed if it takes the elements at hand and is not the kind just used. A description fixes intention
and wording, a program fixes intention and idiom (two intentions may still behave alike), so every conditional is known
too: `idiom_probability(i, w)` is `P(code | description)` and `wording_given_idiom(w, i)` is `P(description | code)`.
Wording 0 is the most probable wording given *any* idiom, so a program in this world is usually described in wording 0.

A hash of an intention's **behaviour** on fixed probe inputs, not of its text, decides its split. Two programs that do the
same are always in the same split, so no rewording, no commuted pair of filters and no program with an idle step can bring
a test task into the pretraining or the training tasks.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from trl_gift.playground.operations import (
    FINAL,
    FINALS_TAKING,
    KIND,
    KINDS_TAKING,
    SEQUENCE,
    VARIABLE,
    Element,
    Final,
    Kind,
)

WORDINGS = ("plain", "terse", "passive", "backward")
IDIOMS = ("stepwise", "loop", "functional", "nested")
MAX_LENGTH = 5

ELEMENT_PROBABILITY: dict[Element, float] = {"number": 0.5, "word": 0.5}
LENGTH_PROBABILITY = {1: 0.05, 2: 0.10, 3: 0.20, 4: 0.30, 5: 0.35}
WORDING_PROBABILITY = (0.82, 0.06, 0.06, 0.06)
# Rows are wordings, columns idioms: each minority wording suggests one idiom strongly, the majority wording all four.
IDIOM_PROBABILITY = (
    (0.34, 0.22, 0.22, 0.22),
    (0.05, 0.85, 0.05, 0.05),
    (0.05, 0.05, 0.85, 0.05),
    (0.05, 0.05, 0.05, 0.85),
)

SPLITS = ("practice", "train", "validation", "test")
# One behaviour in twenty belongs to each split that the pretraining must not see.
_BUCKETS = {0: "test", 1: "validation", 2: "train"}
_NUM_BUCKETS = 20


@dataclass(frozen=True)
class Step:
    """One operation with its constant, if its kind has one."""

    kind: str
    constant: int | str | None = None

    @property
    def rule(self) -> Kind:
        """The kind's meaning, code and phrases."""
        return KIND[self.kind]

    def quoted(self) -> str:
        """The constant as programs and descriptions show it; letters are quoted in both."""
        return f"'{self.constant}'" if isinstance(self.constant, str) else str(self.constant)

    def condition(self, variable: str) -> str:
        """A filter's condition or a map's expression."""
        return self.rule.code.format(v=variable, k=self.quoted())

    def opposite(self, variable: str) -> str:
        """The condition under which a filter drops its element."""
        if self.rule.negated is None:
            raise ValueError(f"{self.kind!r} is a map: only filters have an opposite condition.")
        return self.rule.negated.format(v=variable, k=self.quoted())


@dataclass(frozen=True)
class Intention:
    """What a program should do, independent of its description and its code."""

    element: Element
    steps: tuple[Step, ...]
    final: str

    @property
    def ending(self) -> Final:
        """The final's meaning, code and phrases."""
        return FINAL[self.final]

    @property
    def elements(self) -> tuple[Element, ...]:
        """The kind of element before each step and after the last."""
        kinds: list[Element] = [self.element]
        kinds.extend(step.rule.gives for step in self.steps)
        return tuple(kinds)

    def is_well_typed(self) -> bool:
        """Whether every step takes what the step before gives (a mutant of an intention may not)."""
        before = self.elements
        return all(step.rule.takes == kind for step, kind in zip(self.steps, before, strict=False)) and (
            self.ending.takes == before[-1]
        )

    def run(self, values: Sequence[Any]) -> Any:
        """The answer, by the meaning of the steps and not by any code."""
        for step in self.steps:
            meaning, constant = step.rule.meaning, step.constant
            if step.rule.is_filter:
                values = [value for value in values if meaning(value, constant)]
            else:
                values = [meaning(value, constant) for value in values]
        return self.ending.meaning(values)


# --------------------------------------------------------------------------------------------------- the distribution


def _allowed(element: Element, previous: str | None) -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS_TAKING[element] if kind.name != previous)


def intention_probability(intention: Intention) -> float:
    """`P(intention)`, exactly; 0 for one that the world never draws."""
    length = len(intention.steps)
    if length not in LENGTH_PROBABILITY or not intention.is_well_typed():
        return 0.0
    probability = ELEMENT_PROBABILITY[intention.element] * LENGTH_PROBABILITY[length]
    element, previous = intention.element, None
    for step in intention.steps:
        allowed = _allowed(element, previous)
        if step.rule not in allowed or step.constant not in step.rule.constants:
            return 0.0
        probability /= len(allowed) * len(step.rule.constants)
        element, previous = step.rule.gives, step.kind
    return probability / len(FINALS_TAKING[element])


def wording_probability(wording: int) -> float:
    """`P(wording)`."""
    return WORDING_PROBABILITY[wording]


def idiom_probability(idiom: int, wording: int) -> float:
    """`P(idiom | wording)`: the idiom of a program for a description of that wording."""
    return IDIOM_PROBABILITY[wording][idiom]


def joint_probability(intention: Intention, wording: int, idiom: int) -> float:
    """`P(intention, wording, idiom)`."""
    return intention_probability(intention) * wording_probability(wording) * idiom_probability(idiom, wording)


def wording_given_idiom(wording: int, idiom: int) -> float:
    """`P(wording | idiom)`: the wording of a description of a program in that idiom."""
    total = sum(wording_probability(w) * idiom_probability(idiom, w) for w in range(len(WORDINGS)))
    return wording_probability(wording) * idiom_probability(idiom, wording) / total


def sample_intention(rng: random.Random, length: int | None = None) -> Intention:
    """Draw from `P(intention)`, or from `P(intention | L)` if the length is given."""
    element: Element = rng.choices(list(ELEMENT_PROBABILITY), list(ELEMENT_PROBABILITY.values()))[0]
    if length is None:
        length = rng.choices(list(LENGTH_PROBABILITY), list(LENGTH_PROBABILITY.values()))[0]
    start, steps, previous = element, [], None
    for _ in range(length):
        kind = rng.choice(_allowed(element, previous))
        steps.append(Step(kind.name, rng.choice(kind.constants)))
        element, previous = kind.gives, kind.name
    return Intention(start, tuple(steps), rng.choice(FINALS_TAKING[element]).name)


def sample_idiom(rng: random.Random, wording: int) -> int:
    """Draw from `P(idiom | wording)`."""
    return rng.choices(range(len(IDIOMS)), IDIOM_PROBABILITY[wording])[0]


def sample_wording(rng: random.Random, idiom: int) -> int:
    """Draw from `P(wording | idiom)`."""
    return rng.choices(range(len(WORDINGS)), [wording_given_idiom(w, idiom) for w in range(len(WORDINGS))])[0]


# ------------------------------------------------------------------------------------------------ behaviour and splits

_WORDS = [
    "an",
    "at",
    "sea",
    "tea",
    "rain",
    "stone",
    "tin",
    "nest",
    "rest",
    "star",
    "seat",
    "train",
    "sister",
    "insert",
    "tiara",
    "arena",
    "siren",
    "raisin",
    "entire",
    "street",
    "tent",
    "tree",
    "cat",
    "dog",
    "house",
    "tulip",
    "mango",
    "bread",
    "lemon",
    "plum",
    "river",
    "cloud",
    "night",
    "paper",
    "green",
    "blue",
    "salt",
    "sugar",
    "music",
    "planet",
    "robin",
    "spoon",
    "needle",
    "string",
    "letter",
    "answer",
    "island",
    "season",
]


def random_input(element: Element, rng: random.Random) -> list[Any]:
    """A list of 6 to 9 numbers or words, as the tests of the tasks and the probes use them."""
    size = rng.randint(6, 9)
    if element == "word":
        return [rng.choice(_WORDS) for _ in range(size)]
    return [rng.randint(-9, 20) for _ in range(size)]


@cache
def probes(element: Element) -> tuple[tuple[Any, ...], ...]:
    """The fixed inputs on which behaviours are compared."""
    rng = random.Random(f"probes of {element}s")
    return tuple(tuple(random_input(element, rng)) for _ in range(8))


def behaviour(intention: Intention) -> str:
    """The answers to the probes, as text. Equal behaviours count as one program."""
    return repr([intention.element, [intention.run(probe) for probe in probes(intention.element)]])


def split_of(intention: Intention) -> str:
    """The split to which an intention belongs; a function of its behaviour alone."""
    digest = hashlib.blake2b(behaviour(intention).encode(), digest_size=8).digest()
    return _BUCKETS.get(int.from_bytes(digest, "big") % _NUM_BUCKETS, "practice")


# ----------------------------------------------------------------------------------------------------------- rendering


def signature(intention: Intention) -> str:
    """The `def` line, which tells numbers from words."""
    return f"def solve({SEQUENCE[intention.element]}):"


def describe(intention: Intention, wording: int) -> str:
    """The description of an intention in a wording: one line, no quotes but those around letters."""
    clauses = [step.rule.phrases[wording].format(k=step.quoted()) for step in intention.steps]
    final = intention.ending.phrases[wording]
    if wording == 0:
        return ", ".join([*clauses, f"return {final}"])
    if wording == 1:
        return "; ".join([*clauses, f"answer {final}"])
    if wording == 2:
        return f"find the {final} once " + ", ".join(clauses)
    return ", after ".join([final, *reversed(clauses)])


def write_body(intention: Intention, idiom: int) -> str:
    """The body of a function with that intention in an idiom: indented lines, no trailing newline."""
    return (_stepwise, _loop, _functional, _nested)[idiom](intention)


def write_code(intention: Intention, idiom: int) -> str:
    """The whole function, without a docstring."""
    return f"{signature(intention)}\n{write_body(intention, idiom)}"


def _ending(intention: Intention, sequence: str, *, is_list: bool) -> str:
    if is_list and intention.ending.meaning is list:
        return sequence
    return intention.ending.code.format(v=sequence)


def _stepwise(intention: Intention) -> str:
    lines, name = [], SEQUENCE[intention.element]
    for step, before in zip(intention.steps, intention.elements, strict=False):
        v, source, name = VARIABLE[before], SEQUENCE[before], SEQUENCE[step.rule.gives]
        made = f"{v} for {v} in {source} if {step.condition(v)}"
        if not step.rule.is_filter:
            made = f"{step.condition(v)} for {v} in {source}"
        lines.append(f"    {name} = [{made}]")
    return "\n".join([*lines, f"    return {_ending(intention, name, is_list=True)}"])


def _loop(intention: Intention) -> str:
    first = intention.element
    lines = ["    out = []", f"    for {VARIABLE[first]} in {SEQUENCE[first]}:"]
    v = VARIABLE[first]
    for step in intention.steps:
        if step.rule.is_filter:
            lines.extend((f"        if {step.opposite(v)}:", "            continue"))
        else:
            source, v = v, VARIABLE[step.rule.gives]
            lines.append(f"        {v} = {step.condition(source)}")
    return "\n".join([*lines, f"        out.append({v})", f"    return {_ending(intention, 'out', is_list=True)}"])


def _functional(intention: Intention) -> str:
    lines, name = [], SEQUENCE[intention.element]
    for step, before in zip(intention.steps, intention.elements, strict=False):
        v, source, name = VARIABLE[before], SEQUENCE[before], SEQUENCE[step.rule.gives]
        tool = "filter" if step.rule.is_filter else "map"
        lines.append(f"    {name} = {tool}(lambda {v}: {step.condition(v)}, {source})")
    return "\n".join([*lines, f"    return {_ending(intention, name, is_list=False)}"])


def _nested(intention: Intention) -> str:
    made = SEQUENCE[intention.element]
    for step, before in zip(intention.steps, intention.elements, strict=False):
        v = VARIABLE[before]
        if step.rule.is_filter:
            made = f"[{v} for {v} in {made} if {step.condition(v)}]"
        else:
            made = f"[{step.condition(v)} for {v} in {made}]"
    return f"    return {_ending(intention, made, is_list=True)}"
