"""The vocabulary of the playground's world: what one step of a program may do, and how to say and write it.

A program of this world takes a list of numbers or a list of words, sends every element through a few steps (an
*operation* keeps or drops an element, or replaces it) and ends with one *final* that turns what is left into the answer.
Each kind of operation carries its meaning as a Python function, its code as a template and four phrases, one for each
wording; the meaning is never derived from the code, so that a test can compare the two.

The constants are single characters on purpose: with a tokenizer that keeps digits and quoted letters whole, copying a
constant from a description into a code is copying one token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Element = Literal["number", "word"]
VARIABLE: dict[Element, str] = {"number": "x", "word": "w"}
SEQUENCE: dict[Element, str] = {"number": "xs", "word": "ws"}

LETTERS = ("a", "e", "i", "n", "r", "s", "t")


@dataclass(frozen=True)
class Kind:
    """One kind of operation. In the templates `{v}` is the element's variable and `{k}` the constant."""

    name: str
    takes: Element
    gives: Element
    meaning: Callable[[Any, Any], Any]
    code: str
    phrases: tuple[str, str, str, str]
    constants: tuple[int | str | None, ...] = (None,)
    negated: str | None = None  # a filter's opposite condition, for the idiom that skips; None for a map

    @property
    def is_filter(self) -> bool:
        """Whether the operation keeps or drops elements instead of replacing them."""
        return self.negated is not None


@dataclass(frozen=True)
class Final:
    """How the answer is made of the elements that are left. `{v}` is the name or expression of the sequence."""

    name: str
    takes: Element
    meaning: Callable[[Sequence[Any]], Any]
    code: str
    phrases: tuple[str, str, str, str]


def _number_filter(
    name: str,
    meaning: Callable[[Any, Any], Any],
    code: str,
    negated: str,
    phrases: tuple[str, str, str, str],
    constants: tuple[int | str | None, ...] = (None,),
) -> Kind:
    return Kind(name, "number", "number", meaning, code, phrases, constants, negated)


def _number_map(
    name: str,
    meaning: Callable[[Any, Any], Any],
    code: str,
    phrases: tuple[str, str, str, str],
    constants: tuple[int | str | None, ...] = (None,),
) -> Kind:
    return Kind(name, "number", "number", meaning, code, phrases, constants)


def _word_filter(
    name: str,
    meaning: Callable[[Any, Any], Any],
    code: str,
    negated: str,
    phrases: tuple[str, str, str, str],
    constants: tuple[int | str | None, ...] = LETTERS,
) -> Kind:
    return Kind(name, "word", "word", meaning, code, phrases, constants, negated)


def _word_map(
    name: str,
    meaning: Callable[[Any, Any], Any],
    code: str,
    phrases: tuple[str, str, str, str],
    constants: tuple[int | str | None, ...] = (None,),
) -> Kind:
    return Kind(name, "word", "word", meaning, code, phrases, constants)


DIGITS = tuple(range(1, 10))

KINDS: tuple[Kind, ...] = (
    _number_filter(
        "even",
        lambda x, k: x % 2 == 0,
        "{v} % 2 == 0",
        "{v} % 2 == 1",
        ("keep the even numbers", "evens only", "odd ones are gone", "picking evens"),
    ),
    _number_filter(
        "odd",
        lambda x, k: x % 2 == 1,
        "{v} % 2 == 1",
        "{v} % 2 == 0",
        ("keep the odd numbers", "odds only", "even ones are gone", "picking odds"),
    ),
    _number_filter(
        "multiple",
        lambda x, k: x % k == 0,
        "{v} % {k} == 0",
        "{v} % {k} != 0",
        ("keep multiples of {k}", "divisible by {k} only", "what {k} does not divide is gone", "picking {k}-folds"),
        (3, 4, 5),
    ),
    _number_filter(
        "above",
        lambda x, k: x > k,
        "{v} > {k}",
        "{v} <= {k}",
        ("keep numbers above {k}", "over {k} only", "all up to {k} is gone", "picking those past {k}"),
        DIGITS,
    ),
    _number_filter(
        "below",
        lambda x, k: x < k,
        "{v} < {k}",
        "{v} >= {k}",
        ("keep numbers below {k}", "under {k} only", "all from {k} up is gone", "picking those short of {k}"),
        DIGITS,
    ),
    _number_map(
        "add", lambda x, k: x + k, "{v} + {k}", ("add {k}", "{k} more", "{k} is put on top", "raising by {k}"), DIGITS
    ),
    _number_map(
        "subtract",
        lambda x, k: x - k,
        "{v} - {k}",
        ("subtract {k}", "{k} less", "{k} is taken off", "lowering by {k}"),
        DIGITS,
    ),
    _number_map(
        "multiply",
        lambda x, k: x * k,
        "{v} * {k}",
        ("multiply by {k}", "{k} times", "each grows {k}-fold", "scaling by {k}"),
        (2, 3, 4, 5),
    ),
    _number_map(
        "remainder",
        lambda x, k: x % k,
        "{v} % {k}",
        ("take the remainder by {k}", "modulo {k}", "{k} is cast out", "reducing by {k}"),
        (3, 4, 5, 6, 7, 8, 9),
    ),
    _number_map(
        "from",
        lambda x, k: k - x,
        "{k} - {v}",
        ("subtract from {k}", "{k} minus it", "each becomes its gap to {k}", "facing {k}"),
        DIGITS,
    ),
    _number_map(
        "square",
        lambda x, k: x * x,
        "{v} * {v}",
        ("square", "second power", "each meets itself", "squaring"),
    ),
    _number_map("negate", lambda x, k: -x, "-{v}", ("negate", "sign changed", "signs are flipped", "mirroring")),
    _number_map(
        "absolute",
        lambda x, k: abs(x),
        "abs({v})",
        ("take the absolute value", "size only", "signs are lost", "unsigning"),
    ),
    _number_map("halve", lambda x, k: x // 2, "{v} // 2", ("halve", "half of it", "each is cut in two", "splitting")),
    _word_filter(
        "longer",
        lambda w, k: len(w) > k,
        "len({v}) > {k}",
        "len({v}) <= {k}",
        ("keep words longer than {k}", "over {k} letters only", "sizes up to {k} are gone", "picking sizes past {k}"),
        (2, 3, 4, 5),
    ),
    _word_filter(
        "shorter",
        lambda w, k: len(w) < k,
        "len({v}) < {k}",
        "len({v}) >= {k}",
        (
            "keep words shorter than {k}",
            "under {k} letters only",
            "sizes from {k} up are gone",
            "picking sizes short of {k}",
        ),
        (4, 5, 6, 7, 8),
    ),
    _word_filter(
        "has",
        lambda w, k: k in w,
        "{k} in {v}",
        "{k} not in {v}",
        ("keep words with {k}", "{k} inside only", "those missing {k} are gone", "picking holders of {k}"),
    ),
    _word_filter(
        "lacks",
        lambda w, k: k not in w,
        "{k} not in {v}",
        "{k} in {v}",
        ("keep words without {k}", "no {k} inside only", "those holding {k} are gone", "picking the free of {k}"),
    ),
    _word_filter(
        "starts",
        lambda w, k: w[:1] == k,
        "{v}[:1] == {k}",
        "{v}[:1] != {k}",
        ("keep words starting with {k}", "{k} in front only", "other heads than {k} are gone", "picking heads {k}"),
    ),
    _word_filter(
        "ends",
        lambda w, k: w[-1:] == k,
        "{v}[-1:] == {k}",
        "{v}[-1:] != {k}",
        ("keep words ending in {k}", "{k} at the end only", "other tails than {k} are gone", "picking tails {k}"),
    ),
    _word_map(
        "upper", lambda w, k: w.upper(), "{v}.upper()", ("make capitals", "all caps", "letters grow", "shouting")
    ),
    _word_map(
        "reverse",
        lambda w, k: w[::-1],
        "{v}[::-1]",
        ("reverse each word", "backwards", "each is turned round", "flipping"),
    ),
    _word_map(
        "behead",
        lambda w, k: w[1:],
        "{v}[1:]",
        ("drop the first letter", "minus its front", "heads come off", "beheading"),
    ),
    _word_map(
        "curtail",
        lambda w, k: w[:-1],
        "{v}[:-1]",
        ("drop the last letter", "minus its end", "tails come off", "docking"),
    ),
    _word_map(
        "twice", lambda w, k: w + w, "{v} + {v}", ("repeat each word", "said twice", "each is doubled", "echoing")
    ),
    _word_map(
        "append",
        lambda w, k: w + k,
        "{v} + {k}",
        ("append {k}", "then {k}", "{k} follows each", "tailing with {k}"),
        LETTERS,
    ),
    _word_map(
        "prepend",
        lambda w, k: k + w,
        "{k} + {v}",
        ("put {k} in front", "{k} first", "{k} leads each", "heading with {k}"),
        LETTERS,
    ),
    Kind(
        "measure",
        "word",
        "number",
        lambda w, k: len(w),
        "len({v})",
        ("take the length", "letters counted", "each becomes its size", "measuring"),
    ),
)

FINALS: tuple[Final, ...] = (
    Final("sum", "number", sum, "sum({v})", ("the sum", "total", "sum", "all added up")),
    Final(
        "max", "number", lambda v: max(v, default=0), "max({v}, default=0)", ("the maximum", "top", "peak", "highest")
    ),
    Final(
        "min", "number", lambda v: min(v, default=0), "min({v}, default=0)", ("the minimum", "low", "floor", "lowest")
    ),
    Final("list", "number", list, "list({v})", ("the numbers", "all", "rest", "what remains")),
    Final("sorted", "number", sorted, "sorted({v})", ("them sorted", "ascending", "order", "lined up")),
    Final(
        "distinct",
        "number",
        lambda v: len(set(v)),
        "len(set({v}))",
        ("the distinct count", "variety", "count of different ones", "how many kinds"),
    ),
    Final("spaced", "word", " ".join, "' '.join({v})", ("them joined by spaces", "sentence", "line", "spaced out")),
    Final("glued", "word", "".join, "''.join({v})", ("them joined", "glued", "chain", "run together")),
    Final("word list", "word", list, "list({v})", ("the words", "all", "rest", "what remains")),
    Final("word sorted", "word", sorted, "sorted({v})", ("them sorted", "ascending", "order", "lined up")),
    Final(
        "first word",
        "word",
        lambda v: min(v, default=""),
        "min({v}, default='')",
        ("the alphabetical first", "a to z winner", "front runner", "first by letter"),
    ),
)

KIND = {kind.name: kind for kind in KINDS}
FINAL = {final.name: final for final in FINALS}
KINDS_TAKING: dict[Element, tuple[Kind, ...]] = {
    "number": tuple(kind for kind in KINDS if kind.takes == "number"),
    "word": tuple(kind for kind in KINDS if kind.takes == "word"),
}
FINALS_TAKING: dict[Element, tuple[Final, ...]] = {
    "number": tuple(final for final in FINALS if final.takes == "number"),
    "word": tuple(final for final in FINALS if final.takes == "word"),
}
