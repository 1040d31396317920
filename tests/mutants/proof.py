"""Mutants of comparisons between runs and of the forecast."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_COMPARED = "tests/run/test_compared.py"
_FORECAST = "tests/estimate/test_forecast.py"

_compared = partial(Mutant, file="trl_gift/run/compared.py", law="paired comparison")
_forecast = partial(Mutant, file="trl_gift/estimate/forecast.py", law="forecast")
_pilot = partial(Mutant, file="trl_gift/estimate/piloting.py", law="forecast")
_headroom = partial(Mutant, file="trl_gift/estimate/headroom.py", law="forecast")

MUTANTS = (
    _compared(
        name="sign of a comparison reversed",
        old="    gaps = [two - one for one, two in pairs]",
        new="    gaps = [one - two for one, two in pairs]",
        breaks="the better config is said to be the worse one",
        test=f"{_COMPARED}::test_differences_by_hand",
    ),
    _compared(
        name="sign of the tasks' differences reversed",
        old="fmean(two[task] - one[task] for one, two in pairs)",
        new="fmean(one[task] - two[task] for one, two in pairs)",
        breaks="the interval over the tasks is that of the reversed difference",
        test=f"{_COMPARED}::test_differences_by_hand",
    ),
    _compared(
        name="seeds counted as independent of the tasks",
        old="    by_task = [fmean(two[task] - one[task] for one, two in pairs) for task in shared]",
        new="    by_task = [two[task] - one[task] for task in shared for one, two in pairs]",
        breaks="repeats of a task narrow the interval over the tasks",
        test=f"{_COMPARED}::test_differences_by_hand",
    ),
    _compared(
        name="normal quantile for few seeds",
        old="_T95[freedom - 1] if freedom <= len(_T95) else ",
        new="1.95996 if freedom <= len(_T95) else ",
        breaks="the interval over few seeds is far too narrow",
        test=f"{_COMPARED}::test_the_quantiles_are_student_s[5]",
    ),
    _compared(
        name="degrees of freedom off by one",
        old="    freedom = count - 1\n",
        new="    freedom = count\n",
        breaks="the interval over the seeds is too narrow",
        test=f"{_COMPARED}::test_the_quantiles_are_student_s[5]",
    ),
    _compared(
        name="standard deviation for the mean's error",
        old="quantile * stdev(values) / math.sqrt(count)",
        new="quantile * stdev(values)",
        breaks="the interval is that of one seed and not of their mean",
        test=f"{_COMPARED}::test_the_quantiles_are_student_s[5]",
    ),
    _compared(
        name="different held-out tasks compared",
        old="    if len({run.eval_tasks for run in (*first, *other)}) > 1:",
        new="    if not first:",
        breaks="two configs are compared that were measured on different tasks",
        test=f"{_COMPARED}::test_other_held_out_tasks_are_refused",
    ),
    _compared(
        name="tasks that one run lacks compared",
        old="set.intersection(*({*values} for pair in pairs for values in pair))",
        new="set(pairs[0][1])",
        breaks="a mean over some tasks is compared with a mean over others",
        test=f"{_COMPARED}::test_pass_at_k_is_compared_over_the_tasks_that_have_it",
        also=(
            (
                "fmean(two[task] - one[task] for one, two in pairs)",
                "fmean(two[task] - one.get(task, 0.0) for one, two in pairs)",
            ),
            ("(fmean(one[task] for task in shared), ", "(fmean(one.values()), "),
        ),
    ),
    _compared(
        name="fewer tokens not noticed",
        old="    return share if abs(share) > UNEQUAL else None",
        new="    return share if share > UNEQUAL else None",
        breaks="a config that sampled less is compared as if at equal cost",
        test=f"{_COMPARED}::test_unequal_tokens_are_noticed[94.0--0.06]",
    ),
    _compared(
        name="tokens of the last round alone",
        old='float(sum(item["tokens"] for item in rounds))',
        new='float(last["tokens"])',
        breaks="the tokens of earlier rounds cost nothing",
        test=f"{_COMPARED}::test_the_figures_of_a_run_are_of_all_tasks_and_rounds",
    ),
    _compared(
        name="failed tasks left out of a comparison",
        old='["greedy"].items()}}',
        new='["greedy"].items() if passed}}',
        breaks="tasks that fail are left out of pass@1",
        test=f"{_COMPARED}::test_the_figures_of_a_run_are_of_all_tasks_and_rounds",
    ),
    _headroom(
        name="extrapolated to one program fewer",
        old="reached = 1 - np.exp(_log_gamma(b + k)",
        new="reached = 1 - np.exp(_log_gamma(b + k - 1)",
        breaks="pass@k is another k's",
        test=f"{_FORECAST}::test_many_tasks_give_the_truth[1-1.0-1.0]",
    ),
    _headroom(
        name="failures left out of the fit",
        old="        + _log_gamma(b[:, None] + drawn - counts)\n",
        new="        + _log_gamma(b[:, None] + drawn)\n",
        breaks="the fit does not know how many programs failed",
        test=f"{_FORECAST}::test_many_tasks_give_the_truth[16-1.0-1.0]",
    ),
    _headroom(
        name="interval of one half",
        old="[0.025, 0.975]",
        new="[0.25, 0.75]",
        breaks="the interval holds the truth in one of two pilots",
        test=f"{_FORECAST}::test_few_tasks_have_an_interval_that_covers",
    ),
    _forecast(
        name="headroom over several programs",
        old="self.solved.value - self.pass_at[1].value",
        new="self.solved.value - self.pass_at[DRAWN].value",
        breaks="what sampling reaches already counts as no headroom",
        test=f"{_FORECAST}::test_the_headroom_is_what_sampling_adds_to_one_program",
    ),
    _forecast(
        name="fidelity not relative to the model",
        old="self.fidelity / alone",
        new="self.fidelity",
        breaks="a weak model that reads well is sent to plain sampling",
        test=f"{_FORECAST}::test_fidelity_is_compared_with_what_the_model_does_on_tasks_that_it_solves",
    ),
    _forecast(
        name="chains advised that find less",
        old="    if forecast.chain_distinct < forecast.plain_distinct:",
        new="    if forecast.chain_distinct < 0:",
        breaks="the chain is advised where plain sampling finds more programs for the same tokens",
        test=f"{_FORECAST}::test_the_sentence_follows_what_was_found",
    ),
    _forecast(
        name="solved tasks are in between",
        old="float(0 < count < DRAWN)",
        new="float(0 < count)",
        breaks="tasks that are always solved count as tasks to learn from",
        test=f"{_FORECAST}::test_a_task_that_is_always_solved_is_not_in_between",
    ),
    _pilot(
        name="pilot of the model in training",
        old="        drawing.rollouts.engine() as engine,\n",
        new="        trainer.rollouts.engine() as engine,\n",
        breaks="the forecast speaks of another model than the one that draws the run's programs",
        test="tests/sampling/test_sampling_model.py::test_a_pilot_asks_the_model_that_the_run_would_ask",
    ),
    _pilot(
        name="pilot shares the run's streams",
        old='settings = replace(settings, sampler="gibbs", round=0,',
        new='settings = replace(settings, sampler="gibbs", round=1,',
        breaks="the forecast has seen the very samples that the run will draw",
        test=f"{_FORECAST}::test_the_pilot_s_chains_are_not_the_run_s",
    ),
    _forecast(
        name="reference's own programs in fidelity",
        old="one for one in pilot.chains if one.parent not in (None, REFERENCE)]",
        new="one for one in pilot.chains if one.parent is not None]",
        breaks="fidelity counts what is written from the references' descriptions",
        test=f"{_FORECAST}::test_fidelity_is_of_the_model_s_own_programs",
    ),
    _forecast(
        name="hint gap against all tasks",
        old="[rate - counts[name] / DRAWN for name, rate in pilot.hinted.items()]",
        new="[rate for name, rate in pilot.hinted.items()]",
        breaks="what the model can do without a hint counts as the hint's gain",
        test=f"{_FORECAST}::test_the_gap_is_what_the_hint_adds",
    ),
)
