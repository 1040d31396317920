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
_OTHER = "tests/sampling/test_sampling_model.py"
_drawn = partial(Mutant, law="chains of another model")

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
    _drawn(
        name="perplexities of the wrong model",
        file="trl_gift/trainer.py",
        old='scores=self.args.perplexity_model == "trained"',
        new='scores=self.args.perplexity_model != "trained"',
        breaks="the selection counts the perplexities of the model that perplexity_model does not name",
        test=f"{_OTHER}::test_perplexities_are_those_of_a_plain_forward_pass_of_either_model",
    ),
    _drawn(
        name="sampling perplexities as the learner's",
        file="trl_gift/sampling/context.py",
        old="scores = self._learner is None or not self._learner.scores",
        new="scores = True",
        breaks="with perplexity_model='trained' programs keep the log-probabilities of the model that sampled them",
        test=f"{_OTHER}::test_perplexities_are_those_of_a_plain_forward_pass_of_either_model[trained]",
    ),
    _drawn(
        name="targets of the model that samples",
        file="trl_gift/sampling/learner.py",
        old="    return learned(task, found.code, learner)\n",
        new="    return found\n",
        breaks="a program is learned as the model that sampled it would write it",
        test=f"{_OTHER}::test_a_chat_model_learns_the_program_of_a_base_model_as_its_own_answer",
    ),
    _drawn(
        name="programs that do not parse count as none",
        file="trl_gift/sampling/learner.py",
        old='task.language == "python" and codetext.parse(found.code) is None',
        new="False",
        breaks="a syntax error of the model that samples has another status than in its own run",
        test=f"{_OTHER}::test_the_samples_are_those_that_the_sampling_model_draws_for_itself",
    ),
    _drawn(
        name="other weights not noticed",
        file="trl_gift/inference/sampling_model.py",
        old="                digest.update(piece)\n",
        new="                pass\n",
        breaks="a resumed run mixes samples of different models",
        test=f"{_OTHER}::test_a_resumed_run_notices_another_sampling_model",
    ),
    _drawn(
        name="sampling model kept",
        file="trl_gift/inference/sampling_model.py",
        old="            del loaded\n",
        new="            _KEPT.append(loaded)\n",
        also=(("_PIECE = 1 << 24\n", "_PIECE = 1 << 24\n_KEPT: list[LoadedModel] = []\n"),),
        breaks="the model that samples takes memory while the other one is trained",
        test=f"{_OTHER}::test_its_memory_is_free_before_training",
    ),
)
