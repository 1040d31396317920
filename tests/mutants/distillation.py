"""Mutants of what a teacher is told, asked and paid, and of what is learned from it."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_PLAN = "tests/distillation/test_plan.py"
_SETS = "tests/distillation/test_sets.py"
_ENDPOINT = "tests/distillation/test_endpoint.py"

_told = partial(Mutant, file="trl_gift/sampling/hints.py", law="repair")
_plan = partial(Mutant, file="trl_gift/distillation/plan.py", law="repair")
_sets = partial(Mutant, file="trl_gift/distillation/sets.py", law="what is learned of a teacher")
_endpoint = partial(Mutant, file="trl_gift/distillation/endpoint.py", law="cost of a teacher")
_limits = partial(Mutant, file="trl_gift/distillation/limits.py", law="cost of a teacher")
_answers = partial(Mutant, file="trl_gift/distillation/answers.py", law="cost of a teacher")

MUTANTS = (
    _told(
        name="failure in a hidden test told",
        old="outcome.first_failure >= task.tests.num_tests",
        new="outcome.first_failure > task.tests.num_tests",
        breaks="a program is repaired with the message of a hidden test",
        test=f"{_PLAN}::test_a_failure_in_a_hidden_test_is_never_told",
    ),
    _told(
        name="earliest failure first",
        old='return -int(sample.outcome["first_failure"] or 0)',
        new='return int(sample.outcome["first_failure"] or 0)',
        breaks="the program that failed first is repaired in place of the one that came furthest",
        test=f"{_PLAN}::test_the_tasks_of_each_distillation",
    ),
    _plan(
        name="solved tasks first",
        old="keyed += [(job.passes, number",
        new="keyed += [(-job.passes, number",
        breaks="the budget goes to tasks that are solved often",
        test=f"{_PLAN}::test_tasks_with_few_passes_come_first_then_first_turns",
    ),
    _plan(
        name="solved tasks rectified",
        old="in UNSOLVED and (passes or not tries)",
        new="in UNSOLVED and not tries",
        breaks="a set of Personalised Distillation holds a task that the student has solved",
        test=f"{_PLAN}::test_the_tasks_of_each_distillation",
    ),
    _sets(
        name="failed repairs learned",
        old="if not sample.passed or sample.target is None or sample.kind == CHAIN:",
        new="if sample.target is None or sample.kind == CHAIN:",
        breaks="a repair is learned that fails its tests",
        test=f"{_SETS}::test_what_each_set_holds",
    ),
    _sets(
        name="teacher's own mistake as the student's",
        old="while wrong.kind == REPAIR:",
        new="if wrong.kind == REPAIR:",
        breaks="the wrong program of a lesson is the teacher's earlier turn",
        test=f"{_SETS}::test_what_each_set_holds",
    ),
    _sets(
        name="share of right programs by the repairs alone",
        old="round(len(unique) * right_share / (1 - right_share))",
        new="round(len(unique) * right_share)",
        breaks="fewer right programs stay as they are than right_share says",
        test=f"{_SETS}::test_self_repair_keeps_what_is_right_in_a_set_share",
    ),
    _endpoint(
        name="answers asked for again",
        old="        if known is not None:\n            return known\n",
        new="",
        breaks="a resumed run pays again for what it has on disk",
        test=f"{_ENDPOINT}::test_no_answer_is_paid_for_twice",
    ),
    _endpoint(
        name="key in a message",
        old='words.replace(self._key, "***")',
        new="words",
        breaks="an error of the endpoint that quotes the key is printed as it is",
        test=f"{_ENDPOINT}::test_a_refusal_is_told_at_once_and_without_the_key",
    ),
    _endpoint(
        name="earlier spending forgotten",
        old="max(0.0, options.most_cost - self._answers.cost)",
        new="options.most_cost",
        breaks="each process of a run may spend teacher_max_cost anew",
        test=f"{_ENDPOINT}::test_money_is_never_spent_beyond_its_limit",
    ),
    _limits(
        name="nothing set aside",
        old="            self._aside += amount\n",
        new="",
        breaks="requests that are under way together may exceed the limit of money",
        test=f"{_ENDPOINT}::test_a_purse_waits_for_what_is_under_way",
    ),
    _answers(
        name="torn answers read",
        old='read_bytes().split(b"\\n")[:-1]',
        new='read_bytes().split(b"\\n")',
        breaks="the answers of a killed run cannot be read",
        test=f"{_ENDPOINT}::test_no_answer_is_paid_for_twice",
    ),
)
