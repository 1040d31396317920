"""The scheduler and what it leaves of the process that it runs in; what it computes, the laws of the chains say."""

from __future__ import annotations

import gc
from gc import get_freeze_count

import pytest

from trl_gift.sampling.scheduler import Scheduler


@pytest.fixture
def nothing_frozen(monkeypatch):
    """As in a process of a user's; of the tests' own, much is frozen, and the count is remembered (tests/conftest.py)."""
    monkeypatch.setattr(gc, "get_freeze_count", get_freeze_count)
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


def frozen_while_a_chain_runs():
    seen = []

    async def chain():
        seen.append(gc.get_freeze_count())

    Scheduler(None, None).run([chain()])
    return seen[0]


def test_the_objects_that_exist_are_no_garbage_while_chains_run(nothing_frozen):
    assert frozen_while_a_chain_runs() > 100_000
    assert gc.get_freeze_count() == 0


def test_also_if_a_chain_fails(nothing_frozen):
    async def chain():
        raise OSError("of a chain")

    with pytest.raises(OSError, match="of a chain"):
        Scheduler(None, None).run([chain()])
    assert gc.get_freeze_count() == 0


def test_what_the_caller_has_frozen_stays_so(nothing_frozen):
    gc.freeze()
    before = gc.get_freeze_count()
    # Frozen objects may end, as all others; none is added, and not all are given free.
    assert 0 < frozen_while_a_chain_runs() <= before
    assert 0 < gc.get_freeze_count() <= before
