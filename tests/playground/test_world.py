"""The laws of the world: the joint is a distribution, samples follow it, renderings mean what the intention means."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from scipy.stats import chisquare

from trl_gift.playground import world
from trl_gift.playground.operations import FINALS, FINALS_TAKING, KINDS, KINDS_TAKING
from trl_gift.playground.world import (
    IDIOMS,
    LENGTH_PROBABILITY,
    WORDINGS,
    Intention,
    Step,
    describe,
    idiom_probability,
    intention_probability,
    joint_probability,
    probes,
    sample_idiom,
    sample_intention,
    sample_wording,
    wording_given_idiom,
    wording_probability,
    write_body,
    write_code,
)

ALPHA = 1e-4


def every_intention(length: int):
    """All intentions of a length that are well typed and repeat no kind, by brute force."""
    for element in ("number", "word"):
        kinds = [[Step(kind.name, constant) for constant in kind.constants] for kind in KINDS]
        for steps in itertools.product(itertools.chain(*kinds), repeat=length):
            if any(a.kind == b.kind for a, b in itertools.pairwise(steps)):
                continue
            for final in FINALS:
                intention = Intention(element, steps, final.name)
                if intention.is_well_typed():
                    yield intention


@pytest.mark.parametrize("length", [1, 2])
def test_intentions_of_a_length_sum_to_its_probability(length):
    total = sum(intention_probability(intention) for intention in every_intention(length))
    assert total == pytest.approx(LENGTH_PROBABILITY[length], rel=1e-9)


def test_the_conditionals_sum_to_one():
    assert sum(LENGTH_PROBABILITY.values()) == pytest.approx(1)
    assert sum(world.ELEMENT_PROBABILITY.values()) == pytest.approx(1)
    assert sum(wording_probability(w) for w in range(len(WORDINGS))) == pytest.approx(1)
    for w in range(len(WORDINGS)):
        assert sum(idiom_probability(i, w) for i in range(len(IDIOMS))) == pytest.approx(1)
    for i in range(len(IDIOMS)):
        assert sum(wording_given_idiom(w, i) for w in range(len(WORDINGS))) == pytest.approx(1)


def test_the_joint_is_the_product_and_bayes_holds():
    intention = sample_intention(random.Random(0))
    joint = {(w, i): joint_probability(intention, w, i) for w in range(4) for i in range(4)}
    assert sum(joint.values()) == pytest.approx(intention_probability(intention))
    for w, i in joint:
        idiom_mass = sum(joint[v, i] for v in range(4))
        assert wording_given_idiom(w, i) == pytest.approx(joint[w, i] / idiom_mass)


def test_wording_zero_is_the_mode_given_any_idiom():
    for i in range(len(IDIOMS)):
        assert max(range(len(WORDINGS)), key=lambda w: wording_given_idiom(w, i)) == 0
        assert wording_given_idiom(0, i) > 0.7


def test_what_the_world_never_draws_has_no_probability():
    assert intention_probability(Intention("number", (), "sum")) == 0
    assert intention_probability(Intention("number", (Step("negate"),) * 6, "sum")) == 0
    assert intention_probability(Intention("number", (Step("negate"), Step("negate")), "sum")) == 0
    assert intention_probability(Intention("number", (Step("upper"),), "sum")) == 0
    assert intention_probability(Intention("word", (Step("upper"),), "sum")) == 0
    assert intention_probability(Intention("number", (Step("add", 77),), "sum")) == 0


def test_sampled_intentions_follow_the_closed_form():
    rng, draws = random.Random(1), 20_000
    lengths, first, ending = Counter(), Counter(), Counter()
    for _ in range(draws):
        intention = sample_intention(rng)
        assert intention_probability(intention) > 0
        lengths[len(intention.steps)] += 1
        if intention.element == "number":
            first[intention.steps[0].kind] += 1
        if intention.elements[-1] == "number":
            ending[intention.final] += 1
    assert (
        chisquare([lengths[n] for n in LENGTH_PROBABILITY], [draws * p for p in LENGTH_PROBABILITY.values()]).pvalue
        > ALPHA
    )
    assert chisquare([first[kind.name] for kind in KINDS_TAKING["number"]]).pvalue > ALPHA
    assert chisquare([ending[final.name] for final in FINALS_TAKING["number"]]).pvalue > ALPHA


def test_single_step_intentions_follow_the_closed_form():
    rng, draws = random.Random(2), 40_000
    seen = Counter((i.element, i.steps[0].kind, i.final) for i in (sample_intention(rng, 1) for _ in range(draws)))
    expected = Counter()
    for intention in every_intention(1):
        key = (intention.element, intention.steps[0].kind, intention.final)
        expected[key] += intention_probability(intention) / LENGTH_PROBABILITY[1] * draws
    assert set(seen) <= set(expected)
    assert chisquare([seen[key] for key in expected], list(expected.values())).pvalue > ALPHA


@pytest.mark.parametrize("wording", range(4))
def test_sampled_idioms_follow_their_conditional(wording):
    rng, draws = random.Random(3), 5_000
    seen = Counter(sample_idiom(rng, wording) for _ in range(draws))
    assert (
        chisquare([seen[i] for i in range(4)], [draws * idiom_probability(i, wording) for i in range(4)]).pvalue
        > ALPHA
    )


@pytest.mark.parametrize("idiom", range(4))
def test_sampled_wordings_follow_their_conditional(idiom):
    rng, draws = random.Random(4), 5_000
    seen = Counter(sample_wording(rng, idiom) for _ in range(draws))
    expected = [draws * wording_given_idiom(w, idiom) for w in range(4)]
    assert chisquare([seen[w] for w in range(4)], expected).pvalue > ALPHA


def test_every_idiom_means_what_the_intention_means():
    # The world wrote these programs, not a model, so they may run in this process.
    rng = random.Random(5)
    for _ in range(300):
        intention = sample_intention(rng)
        for idiom in range(4):
            scope: dict = {}
            exec(write_code(intention, idiom), scope)
            for probe in probes(intention.element):
                assert scope["solve"](list(probe)) == intention.run(probe)


def test_every_kind_and_final_means_what_its_code_means():
    rng = random.Random(6)
    for kind in KINDS:
        for constant in kind.constants:
            for final in FINALS_TAKING[kind.gives]:
                intention = Intention(kind.takes, (Step(kind.name, constant),), final.name)
                scope: dict = {}
                exec(write_code(intention, rng.randrange(4)), scope)
                for probe in probes(kind.takes):
                    assert scope["solve"](list(probe)) == intention.run(probe)


def test_descriptions_tell_intentions_and_wordings_apart():
    told: dict[str, tuple[str, int]] = {}
    for element in ("number", "word"):
        for kind in KINDS_TAKING[element]:
            for constant in kind.constants:
                for final in FINALS_TAKING[kind.gives]:
                    intention = Intention(element, (Step(kind.name, constant),), final.name)
                    for wording in range(4):
                        text = f"{element}: {describe(intention, wording)}"
                        assert told.setdefault(text, (str(intention), wording)) == (str(intention), wording)


def test_codes_tell_idioms_apart_and_fit_the_prompt():
    rng = random.Random(7)
    for _ in range(200):
        intention = sample_intention(rng)
        bodies = [write_body(intention, idiom) for idiom in range(4)]
        assert len(set(bodies)) == 4
        assert all(line.startswith("    ") and line.rstrip() == line for body in bodies for line in body.split("\n"))
        assert all('"' not in describe(intention, w) and "\n" not in describe(intention, w) for w in range(4))


def test_sampling_is_deterministic():
    def draw():
        rng = random.Random(8)
        return [sample_intention(rng) for _ in range(50)]

    assert draw() == draw()


def test_the_opposite_of_a_map_is_refused():
    with pytest.raises(ValueError, match="'negate' is a map"):
        Step("negate").opposite("x")
