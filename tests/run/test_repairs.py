"""What a round's figures say of repairs, and of the limits that have stopped a teacher."""

from __future__ import annotations

from tests.distillation.samples import RIGHT, sample
from trl_gift.run.samples import RoundTally
from trl_gift.sampling.records import REPAIR
from trl_gift.sampling.stopped import BUDGET, MAX_COST, forget_stopped, read_stopped, write_stopped

WRONG, OTHER = "def add(a, b):\n    return 0", "def add(a, b):\n    return 1"


def repair(step, code, parent, task="a", fails=0):
    return sample(task, step, code=code, fails=fails, kind=REPAIR, parent=parent)


def test_repairs_without_a_program_and_those_that_change_nothing_are_counted():
    tally = RoundTally()
    for one in (
        sample("a", 0, code=WRONG, fails=0),
        repair(1, WRONG.replace("return", "# so\n    return"), "1/a/0/0"),  # the same but for a comment
        repair(2, OTHER, "1/a/1/0"),
        repair(3, OTHER, "1/a/2/0"),
        repair(4, None, "1/a/3/0"),
        repair(5, RIGHT, "1/a/3/0", fails=None),
        sample("b", 0, code=WRONG, fails=0),
        repair(1, OTHER, "1/b/0/0", "b"),
    ):
        tally.add(one)
    figures = tally.figures()
    assert (figures.repairs, figures.repaired, figures.no_code) == (6, 1, 0)
    assert (figures.repairs_no_code, figures.repairs_unchanged) == (1, 2)


def test_what_limits_have_stopped_is_that_of_all_processes(tmp_path):
    write_stopped(tmp_path, 0, {BUDGET: 2})
    write_stopped(tmp_path, 1, {BUDGET: 1, MAX_COST: 4})
    write_stopped(tmp_path, 2, {})
    assert read_stopped(tmp_path) == {BUDGET: 3, MAX_COST: 4}
    forget_stopped(tmp_path)
    assert not list(tmp_path.iterdir())
