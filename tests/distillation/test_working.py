"""How often a teacher is asked about a failed program, and what is counted where a limit stops it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.distillation.samples import sample, task
from trl_gift.distillation import TheStudent
from trl_gift.distillation.endpoint import ChatEndpoint, EndpointOptions
from trl_gift.distillation.plan import Job, TeachingSettings
from trl_gift.distillation.questions import load_questions
from trl_gift.distillation.working import work
from trl_gift.prompts import Pinned
from trl_gift.sampling.records import REPAIR
from trl_gift.sampling.stopped import BUDGET, MAX_COST
from trl_gift.sampling.writers import TeacherSpent

WRONG, OTHER = (f"def add(a, b):\n    return {number}" for number in (0, 1))


class Context:
    """Gives the same answers in turn to everything, and can afford some programs."""

    def __init__(self, *answers, affordable=9):
        self.answers, self.affordable, self.shown = answers, affordable, []

    def fits(self, task, origin):
        return True

    async def affords(self, task, number):
        return number <= self.affordable

    def steps(self, task):
        return 1

    async def write(self, task, origin, step):
        if not self.answers:
            raise TeacherSpent(MAX_COST)
        code = self.answers[len(self.shown) % len(self.answers)]
        self.shown.append(origin.hint.code)
        return [sample(task.task_id, step, code=code, fails=0, kind=REPAIR, parent=origin.parent)]

    def record(self, samples, continuing):
        pass


def ask(context, varies=True):
    job = Job(task("a"), 0, (sample("a", code=WRONG, fails=0), sample("a", index=1, code=OTHER, fails=0)))
    stopped = Counter()
    with pytest.raises(StopIteration):
        work(job, TeachingSettings("repair", 2, 3), context, stopped, varies=varies).send(None)
    return context.shown, dict(stopped)


@pytest.mark.parametrize(("answers", "varying", "greedy"), [
    ([None], [WRONG] * 3 + [OTHER] * 3, [WRONG, OTHER]),
    ([WRONG], [WRONG] * 3 + [OTHER, WRONG, WRONG], [WRONG, OTHER, WRONG]),
    ([OTHER, WRONG], [WRONG, OTHER] * 3, [WRONG, OTHER] * 3),
])  # fmt: skip
def test_a_greedy_teacher_is_not_asked_the_same_again(answers, varying, greedy):
    assert ask(Context(*answers))[0] == varying
    assert ask(Context(*answers), varies=False)[0] == greedy


def test_a_limit_that_stops_the_work_on_a_task_counts_it_once():
    assert ask(Context(None)) == ([WRONG] * 3 + [OTHER] * 3, {})
    assert ask(Context(None, affordable=2)) == ([WRONG] * 2, {BUDGET: 1})
    assert ask(Context()) == ([], {MAX_COST: 1})


def test_an_endpoint_may_be_asked_at_another_temperature_than_the_stage(tmp_path):
    assert [TheStudent().varies(heat) for heat in (0, 0.5)] == [False, True]
    questions = load_questions(None, Pinned(), False)
    for fields, varies in (({}, False), ({"temperature": 1}, True), ({"temperature": None}, True)):
        assert ChatEndpoint(EndpointOptions("m", tmp_path, fields=fields), questions).varies(0) == varies
