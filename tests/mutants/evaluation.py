"""Mutants of evaluation: attempts, pass@k, intervals, gains."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_ATTEMPTS = "tests/evaluation/test_attempts.py"
_PASS = "tests/evaluation/test_pass_at_k.py"

_attempts = partial(Mutant, file="trl_gift/evaluation/attempts.py", law="pass@k")
_pass = partial(Mutant, file="trl_gift/evaluation/pass_at_k.py", law="pass@k")
_comparison = partial(Mutant, file="trl_gift/evaluation/comparison.py", law="intervals")

MUTANTS = (
    _attempts(
        name="greedy at temperature 1",
        old="SamplingParams(settings.max_completion_length, temperature=0.0)",
        new="SamplingParams(settings.max_completion_length, temperature=1.0)",
        breaks="the greedy program is a sample",
        test=f"{_ATTEMPTS}::test_greedy_is_the_most_likely_code_of_every_task",
    ),
    _attempts(
        name="eval_temperature ignored",
        old="replace(greedy, temperature=settings.temperature)",
        new="replace(greedy, temperature=1.0)",
        breaks="pass@k is measured at temperature 1",
        test=f"{_ATTEMPTS}::test_sampled_codes_follow_the_temperature_of_the_evaluation[0.25]",
    ),
    _attempts(
        name="one key for all samples",
        old="task.task_id, index) for index in indices)",
        new="task.task_id, 0) for index in indices)",
        breaks="all sampled programs of a task are equal",
        law="streams",
        test=f"{_ATTEMPTS}::test_every_sample_has_a_stream_of_its_own",
    ),
    _attempts(
        name="one key for all tasks",
        old='stream_key(settings.seed, "evaluation", task.task_id, index)',
        new='stream_key(settings.seed, "evaluation", index)',
        breaks="the samples of all tasks are drawn from the same streams",
        law="streams",
        test=f"{_ATTEMPTS}::test_every_sample_has_a_stream_of_its_own",
    ),
    _attempts(
        name="hidden tests ignored in evaluation",
        old="(extraction.code, task.all_tests)",
        new="(extraction.code, task.tests)",
        breaks="a program passes that fails a hidden test",
        law="verdict",
        test=f"{_ATTEMPTS}::test_programs_are_put_to_the_hidden_tests_too",
    ),
    _attempts(
        name="infrastructure counted as wrong",
        old="for attempt in self.attempts if attempt.status != Status.INFRASTRUCTURE]",
        new="for attempt in self.attempts]",
        breaks="what could not be executed lowers pass@1",
        test=f"{_ATTEMPTS}::test_what_could_not_be_executed_is_not_a_wrong_answer",
    ),
    _attempts(
        name="no_code attempts dropped",
        old="            else:\n                keep(made)\n",
        new="            elif made.code is not None:\n                keep(made)\n",
        breaks="a completion without a program does not count as a failure",
        test=f"{_ATTEMPTS}::test_a_completion_without_code_is_a_failed_attempt",
    ),
    _attempts(
        name="sampled programs in pass@1",
        old="for attempt in self._valid if attempt.index < 0}",
        new="for attempt in self._valid}",
        breaks="pass@1 is that of the last sample of each task",
        test=f"{_ATTEMPTS}::test_a_completion_without_code_is_a_failed_attempt",
    ),
    _attempts(
        name="greedy program in pass@k",
        old="if attempt.index >= 0:",
        new="if True:",
        breaks="pass@k counts the greedy program as a sample",
        test=f"{_ATTEMPTS}::test_greedy_and_sampled_codes_do_not_mix",
    ),
    _attempts(
        name="unsolved tasks left out of pass@k",
        old="for total, correct in counts.values() if total >= k]",
        new="for total, correct in counts.values() if total >= k and correct]",
        breaks="pass@k is that of the solved tasks",
        test=f"{_ATTEMPTS}::test_unsolved_tasks_count_in_pass_at_k",
    ),
    _attempts(
        name="too few samples for k",
        old="for total, correct in counts.values() if total >= k]",
        new="for total, correct in counts.values()]",
        breaks="a task that lost samples to the sandbox ends the evaluation",
        test=f"{_ATTEMPTS}::test_samples_that_could_not_be_executed_do_not_count_in_pass_at_k",
    ),
    _pass(
        name="biased pass@k",
        old="return 1.0 - math.prod(1.0 - k / i for i in range(missing + 1, num_samples + 1))",
        new="return 1.0 - (1.0 - num_correct / num_samples) ** k",
        breaks="pass@k is the plug-in estimate, which is too low",
        test=f"{_PASS}::test_pass_at_k_is_the_share_of_subsets_with_a_passing_one",
    ),
    _pass(
        name="pass@k one factor short",
        old="for i in range(missing + 1, num_samples + 1))",
        new="for i in range(missing + 1, num_samples))",
        breaks="pass@k is too low by one factor",
        test=f"{_PASS}::test_pass_at_k_is_the_share_of_subsets_with_a_passing_one",
    ),
    _pass(
        name="pass@k certain too early",
        old="if missing < k:",
        new="if missing <= k:",
        breaks="as many failures as k count as a sure success",
        test=f"{_PASS}::test_pass_at_k_is_the_share_of_subsets_with_a_passing_one",
    ),
    _pass(
        name="Wilson's z",
        old="_Z95 = 1.959963984540054",
        new="_Z95 = 1.6448536269514722",
        breaks="Wilson's interval is of 90 %",
        law="intervals",
        test=f"{_PASS}::test_wilson_s_interval_by_hand",
    ),
    _pass(
        name="normal interval",
        old="centre = (share + _Z95**2 / (2 * trials)) / denominator",
        new="centre = share",
        breaks="Wilson's interval is centred at the share",
        law="intervals",
        test=f"{_PASS}::test_wilson_s_interval_by_hand",
    ),
    _pass(
        name="bootstrap at 90 %",
        old="[0.025, 0.975]",
        new="[0.05, 0.95]",
        breaks="the bootstrap interval is of 90 %",
        law="intervals",
        test=f"{_ATTEMPTS}::test_the_bootstrap_interval_is_of_95_percent",
    ),
    _pass(
        name="bootstrap of half the tasks",
        old="size=(min(at_once, _RESAMPLES - done), len(array))",
        new="size=(min(at_once, _RESAMPLES - done), max(1, len(array) // 2))",
        breaks="the bootstrap interval is that of half as many tasks",
        law="intervals",
        test=f"{_ATTEMPTS}::test_the_bootstrap_interval_is_of_95_percent",
    ),
    _comparison(
        name="sign of the gain",
        old="float(after[task_id]) - float(before[task_id])",
        new="float(before[task_id]) - float(after[task_id])",
        breaks="a gain is reported as a loss",
        test=f"{_ATTEMPTS}::test_a_gain_is_what_came_after_less_what_was_before",
    ),
    _comparison(
        name="gained and lost swapped",
        old="shared if after[task_id] and not before[task_id])",
        new="shared if before[task_id] and not after[task_id])",
        breaks="the tasks that were lost are listed as gained",
        test=f"{_ATTEMPTS}::test_what_is_gained_and_lost",
    ),
    _comparison(
        name="missing tasks count as failed",
        old="    shared = sorted(after.keys() & before.keys())\n    differences = [float(after[task_id]) - "
        "float(before[task_id]) for task_id in shared]",
        new="    shared = sorted(after.keys() | before.keys())\n    differences = [float(after.get(task_id, False)) - "
        "float(before.get(task_id, False)) for task_id in shared]",
        breaks="a task that one evaluation could not execute counts as failed there",
        test=f"{_ATTEMPTS}::test_a_gain_is_what_came_after_less_what_was_before",
    ),
)
