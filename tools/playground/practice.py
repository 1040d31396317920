"""The training pairs of the playground's model: pairs of the world in both directions, and the pairs left out.

*Writing* is description → code with `idiom ~ P(idiom | wording)`; *reading* is code → description with
`wording ~ P(wording | idiom)`. Both are conditionals of the one joint of `world.py`, whatever marginal the prompts are
drawn from, so the practice is free to choose the prompts. It leaves out exactly two things:

- intentions of any split but "practice" (a function of behaviour, so no equivalent program slips in), and
- **writing** from a long description in a minority wording: wording 0 is practised at every length, the others only at
  the lengths of `MINORITY_LENGTH_PROBABILITY`. Reading is practised for all idioms at all lengths.

So the model can read every code, and can write every program from wording 0, but it knows the long descriptions of the
other wordings badly. Self-training on the training tasks (long, minority wordings) can close that gap.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from trl_gift.playground.world import (
    IDIOMS,
    WORDINGS,
    describe,
    sample_idiom,
    sample_intention,
    sample_wording,
    signature,
    split_of,
    write_body,
    write_code,
)
from trl_gift.prompts import read_text, write_text

WRITING_SHARE = 0.55
WRITING_WORDING = (0.55, 0.15, 0.15, 0.15)
# Writing practice of the minority wordings, by length; what is absent is never practised.
MINORITY_LENGTH_PROBABILITY = {
    1: {1: 0.4, 2: 0.6},
    2: {1: 0.2, 2: 0.4, 3: 0.4},
    3: {1: 0.2, 2: 0.4, 3: 0.4},
}


@dataclass(frozen=True)
class Pair:
    """One example: a prompt and its completion, without the end token."""

    direction: str
    prompt: str
    completion: str


def practice_pairs(seed: int) -> Iterator[Pair]:
    """An endless, deterministic stream of practice examples."""
    rng = random.Random(f"practice {seed}")
    while True:
        if rng.random() < WRITING_SHARE:
            wording = rng.choices(range(len(WORDINGS)), WRITING_WORDING)[0]
            length = None
            if wording:
                lengths = MINORITY_LENGTH_PROBABILITY[wording]
                length = rng.choices(list(lengths), list(lengths.values()))[0]
            intention = sample_intention(rng, length)
            idiom = sample_idiom(rng, wording)
            if split_of(intention) == "practice":
                prompt = write_text(signature(intention), describe(intention, wording))
                yield Pair("write", prompt, write_body(intention, idiom))
        else:
            intention = sample_intention(rng)
            idiom = rng.randrange(len(IDIOMS))
            wording = sample_wording(rng, idiom)
            if split_of(intention) == "practice":
                yield Pair("read", read_text(write_code(intention, idiom)), describe(intention, wording))


def tokenizer_texts(seed: int) -> Iterator[str]:
    """Texts for the tokenizer: the prompts and completions of every wording and idiom in equal parts."""
    rng = random.Random(f"tokenizer {seed}")
    while True:
        intention = sample_intention(rng)
        if split_of(intention) != "practice":
            continue
        wording, idiom = rng.randrange(len(WORDINGS)), rng.randrange(len(IDIOMS))
        yield write_text(signature(intention), describe(intention, wording))
        yield write_body(intention, idiom)
        yield read_text(write_code(intention, idiom))
        yield describe(intention, wording)
