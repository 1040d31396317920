"""Mutants of what is made of failures: refinements, and pairs of a passing and a failing program."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_REFINING = "tests/evaluation/test_refining.py"
_PAIRS = "tests/export/test_pairs.py"
_PROGRAMS = "tests/export/test_programs.py"
_STREAMS = f"{_REFINING}::test_each_refinement_has_a_stream_of_its_own_whatever_the_order"
_SECRET = f"{_REFINING}::test_the_hidden_tests_decide_and_are_never_shown"

_attempts = partial(Mutant, file="trl_gift/evaluation/attempts.py", law="refinement")
_programs = partial(Mutant, file="trl_gift/export/programs.py", law="preference pairs")
_near = partial(Mutant, file="trl_gift/export/pairs.py", law="preference pairs")

MUTANTS = (
    _attempts(
        name="hidden tests ask for refinements",
        old="(seen,) = await Execute(((code, visible),))",
        new="(seen,) = await Execute(((code, task.all_tests),))",
        breaks="a program that fails a hidden test alone is refined, with that failure",
        test=_SECRET,
    ),
    _attempts(
        name="visible tests decide about a refinement",
        old="Execute(((program, task.all_tests), (program, visible)))",
        new="Execute(((program, visible), (program, visible)))",
        breaks="a refined program passes that fails a hidden test",
        test=f"{_REFINING}::test_refined_until_the_visible_tests_pass_or_the_steps_are_used_up[2-programs2]",
    ),
    _attempts(
        name="refinements count for the plain figures",
        old="keep(replace(made, turns=tuple(turns)))",
        new="keep(replace(made, turns=tuple(turns)).refined)",
        breaks="pass@1 is that of the refined programs",
        test=f"{_REFINING}::test_plain_figures_stay_and_those_of_the_procedure_stand_beside_them",
    ),
    _attempts(
        name="one key for all refinements of an attempt",
        old='"refinement", task.task_id, made.index, number)',
        new='"refinement", task.task_id, made.index)',
        breaks="the refinements of an attempt are drawn from one stream",
        test=_STREAMS,
    ),
    _attempts(
        name="one key for the refinements of all attempts",
        old='"refinement", task.task_id, made.index, number)',
        new='"refinement", task.task_id, number)',
        breaks="all attempts at a task are refined from the same streams",
        test=_STREAMS,
    ),
    Mutant(
        name="addresses in feedback",
        file="trl_gift/sampling/feedback.py",
        old='_ADDRESS.sub("", outcome.message)',
        new="outcome.message",
        breaks="a prompt says where an object lay in memory, so that the next program depends on the run",
        law="refinement",
        test="tests/sampling/test_feedback.py::test_where_an_object_lies_in_memory_is_not_said",
    ),
    Mutant(
        name="one visible test too many",
        file="trl_gift/tasks/visible.py",
        old="if count == most:",
        new="if count > most:",
        breaks="a refinement sees a test that decides alone",
        law="refinement",
        test=f"{_REFINING}::test_which_tests_are_visible",
    ),
    _programs(
        name="infrastructure failures rejected",
        old='return "failed" if sample.status in _FAILED else None',
        new='return "failed" if sample.status in _FAILED or sample.status == "infrastructure" else None',
        breaks="a program that could not be executed counts as a wrong one",
        test=f"{_PROGRAMS}::test_every_status_has_its_place",
    ),
    _programs(
        name="copies chosen",
        old="    if sample.status == PASSED:",
        new="    if sample.status in (PASSED, COPIED):",
        breaks="a copy of a reference is preferred as the model's own program",
        test=f"{_PROGRAMS}::test_every_status_has_its_place",
    ),
    _programs(
        name="both verdicts kept",
        old="if key not in both",
        new="if key",
        breaks="one program is chosen in one pair and rejected in another",
        test=f"{_PROGRAMS}::test_a_program_with_both_verdicts_is_neither",
    ),
    _near(
        name="farthest pairs",
        old="for distance, i, j in ranked:",
        new="for distance, i, j in ranked[::-1]:",
        breaks="the programs of a pair differ in as much as they can",
        test=f"{_PAIRS}::test_programs_of_one_step_come_first_then_the_nearest",
    ),
    _near(
        name="steps ignored in pairs",
        old="for same_step in (True, False):",
        new="for same_step in (False, True):",
        breaks="programs of other steps come first",
        test=f"{_PAIRS}::test_programs_of_one_step_come_first_then_the_nearest",
    ),
    _near(
        name="replacements cost two",
        old="diagonal = (((equal & rises) + rises) ^ rises) | equal",
        new="diagonal = (((equal & rises) + rises) ^ rises)",
        breaks="the edit distance is not Levenshtein's",
        test=f"{_PAIRS}::test_the_distance_is_that_of_the_table",
    ),
)
