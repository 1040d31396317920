"""No hostile program passes, and the slot that it ran in still serves honest ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.attacks import ATTACKS, Attack, Bait, bait, run_attack
from trl_gift.sandbox import LocalSandbox, Status


@pytest.fixture(scope="module")
def prepared() -> Iterator[Bait]:
    with bait() as values:
        yield values


@pytest.fixture(scope="module")
def slot(prepared: Bait) -> Iterator[LocalSandbox]:
    """One slot for all attacks, so that each attack meets what the previous ones left. Started after the secrets are set."""
    with LocalSandbox(num_workers=1) as pool:
        yield pool


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.family}: {attack.name}")
def test_attack_is_held(attack: Attack, slot: LocalSandbox, prepared: Bait):
    *outcomes, honest = run_attack(slot, attack, prepared)
    for outcome in outcomes:
        assert not outcome.passed
        assert outcome.status is not Status.INFRASTRUCTURE, outcome.message
        assert outcome.first_failure is not None
    assert honest.passed, honest
    assert honest.attempts == 1
    assert prepared.untouched()


def test_names_are_unique():
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names))
