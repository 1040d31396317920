"""Mutants of selection, training pairs and rounds."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_SELECTION = "tests/training/test_selection.py"
_PAIRS = "tests/training/test_pairs.py"
_ROUNDS = "tests/training/test_rounds.py"

_weights = partial(Mutant, file="trl_gift/training/selection.py", law="weights")
_selection = partial(Mutant, file="trl_gift/training/selection.py", law="selection")
_pairs = partial(Mutant, file="trl_gift/training/pairs.py", law="pairs")
_rounds = partial(Mutant, file="trl_gift/training/rounds.py", law="rounds")
_trainer = partial(Mutant, file="trl_gift/trainer.py", law="rounds")

MUTANTS = (
    _weights(
        name="inverse weight",
        old="np.exp(weight * (excess - excess.max()))",
        new="np.exp(-weight * (excess - excess.min()))",
        breaks="ordinary programs are preferred to rare ones",
        test=f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity[2.0]",
    ),
    _weights(
        name="weight as a temperature",
        old="np.exp(weight * (excess - excess.max()))",
        new="np.exp((excess - excess.max()) / weight)",
        breaks="a larger weight prefers the tail less",
        test=f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity[2.0]",
    ),
    _weights(
        name="missing weight",
        old="if weight == 0.0:",
        new="if True:",
        breaks="every program is drawn with the same chance",
        test=f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity[2.0]",
    ),
    _weights(
        name="draws without weights",
        old="replace=settings.with_replacement, p=weights)",
        new="replace=settings.with_replacement)",
        breaks="the weights are on record and the draws are uniform",
        test=f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity[2.0]",
    ),
    _weights(
        name="no cap",
        old="np.minimum(values[chosen] - values[chosen].min(), cap)",
        new="values[chosen] - values[chosen].min()",
        breaks="one huge perplexity takes all the mass",
        test=f"{_SELECTION}::test_the_guard_bounds_every_ratio",
    ),
    _weights(
        name="cap on the perplexity itself",
        old="np.minimum(values[chosen] - values[chosen].min(), cap)",
        new="np.minimum(values[chosen], cap)",
        breaks="all programs of a pool above the cap have the same weight",
        test=f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity[2.0]",
    ),
    _weights(
        name="unknown perplexity counts as a number",
        old="known = np.isfinite(values)",
        new="known = ~np.isnan(values)",
        breaks="an infinite perplexity makes the weights of its pool no numbers",
        test=f"{_SELECTION}::test_an_unknown_perplexity_counts_as_the_lowest_and_leaves_the_others_alone[inf]",
    ),
    _weights(
        name="rounds in one softmax",
        old="chosen = known & (groups == group)",
        new="chosen = known",
        breaks="perplexities of different rounds' models are compared although within_round forbids it",
        test=f"{_SELECTION}::test_within_a_round_perplexities_count_from_their_round_s_lowest",
    ),
    _weights(
        name="within_round not applied",
        old="[candidate.round for candidate in candidates] if settings.within_round else None,",
        new="None,",
        breaks="the selection ignores perplexity_within_round",
        test=f"{_SELECTION}::test_a_selection_within_rounds_prefers_no_round",
    ),
    _selection(
        name="drawing without replacement",
        old="size=count, replace=settings.with_replacement,",
        new="size=min(count, size), replace=False,",
        breaks="a task with fewer than K programs gets fewer than K draws",
        test=f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity[0.0]",
    ),
    _selection(
        name="drawing with replacement always",
        old="size=count, replace=settings.with_replacement,",
        new="size=count, replace=True,",
        breaks="with_replacement=False draws a program twice",
        test=f"{_SELECTION}::test_without_replacement_nothing_comes_twice",
    ),
    _selection(
        name="selection equal in all rounds",
        old='stream_key(settings.seed, settings.round, task_id, "selection")',
        new='stream_key(settings.seed, task_id, "selection")',
        breaks="every round draws the same places of a pool",
        test=f"{_SELECTION}::test_draws_depend_on_names_alone",
    ),
    _selection(
        name="selection equal for all tasks",
        old='stream_key(settings.seed, settings.round, task_id, "selection")',
        new='stream_key(settings.seed, settings.round, "selection")',
        breaks="all pools of one size are drawn from alike",
        test=f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity[0.0]",
    ),
    _selection(
        name="pool always all",
        old='(kind == "all" or sample.continues)',
        new="True",
        breaks="programs that did not continue the chain are selected",
        test=f"{_SELECTION}::test_pools",
    ),
    _selection(
        name="pool always continuing",
        old='(kind == "all" or sample.continues)',
        new="sample.continues",
        breaks="pool='all' selects the continuing programs alone",
        test=f"{_SELECTION}::test_pools",
    ),
    _selection(
        name="failing programs selected",
        old="if sample.eligible and (kind",
        new="if sample.code is not None and (kind",
        breaks="programs that fail are learned",
        test=f"{_SELECTION}::test_unverified_codes_may_be_selected_and_failed_ones_never",
    ),
    _selection(
        name="duplicates by text",
        old='first.setdefault(codetext.normalise(sample.code or ""), sample)',
        new='first.setdefault(sample.code or "", sample)',
        breaks="a program and its copy with another local name both stay",
        test=f"{_SELECTION}::test_pools",
    ),
    _selection(
        name="last duplicate kept",
        old='first.setdefault(codetext.normalise(sample.code or ""), sample)',
        new='first[codetext.normalise(sample.code or "")] = sample',
        breaks="of equal programs the last one stays",
        test=f"{_SELECTION}::test_pools",
    ),
    # Pairs
    _pairs(
        name="chain's description as the training prompt",
        old="add(task, targets.of_sample(task, item), item.count * each, own(task))",
        new="add(task, targets.of_sample(task, item), item.count * each, "
        "own(__import__('dataclasses').replace(task, description=item.sample.description)))",
        breaks="a program is learned after the description that the chain wrote",
        test=f"{_PAIRS}::test_every_code_is_paired_with_the_seed_description",
    ),
    _pairs(
        name="mask one short",
        old="[IGNORED] * len(prompt) + completion if completion_only",
        new="[IGNORED] * (len(prompt) - 1) + prompt[-1:] + completion if completion_only",
        breaks="the last token of the prompt is learned",
        test=f"{_PAIRS}::test_loss_is_on_the_completion_and_the_end_token_only",
    ),
    _pairs(
        name="mask one long",
        old="[IGNORED] * len(prompt) + completion if completion_only",
        new="[IGNORED] * (len(prompt) + 1) + completion[1:] if completion_only",
        breaks="the first token of the program is not learned",
        test=f"{_PAIRS}::test_loss_is_on_the_completion_and_the_end_token_only",
    ),
    _pairs(
        name="prompt learned",
        old="TrainingPair(ids, [IGNORED] * len(prompt) + completion if completion_only else ids)",
        new="TrainingPair(ids, ids)",
        breaks="the loss is on the prompt, too",
        test=f"{_PAIRS}::test_loss_is_on_the_completion_and_the_end_token_only",
    ),
    Mutant(
        name="each drawn program once",
        file="trl_gift/training/targets.py",
        old="return (sample.target,) * item.count",
        new="return (sample.target,)",
        law="pairs",
        breaks="a program that was drawn three times is learned once",
        test=f"{_PAIRS}::test_every_code_is_paired_with_the_seed_description",
    ),
    _pairs(
        name="references always learned",
        old="for task in tasks if train_on_references else ():",
        new="for task in tasks:",
        breaks="references are learned although train_on_references is off",
        test=f"{_PAIRS}::test_references_come_once_each_and_only_if_asked",
    ),
    _pairs(
        name="references not learned",
        old="for task in tasks if train_on_references else ():",
        new="for task in ():",
        breaks="no reference is learned",
        test=f"{_PAIRS}::test_references_come_once_each_and_only_if_asked",
    ),
    _pairs(
        name="pair of the greatest length left out",
        old="len(pair.input_ids) <= max_length",
        new="len(pair.input_ids) < max_length",
        breaks="a pair that just fits is left out",
        test=f"{_PAIRS}::test_no_pair_is_truncated_or_all_masked",
    ),
    _pairs(
        name="long pairs kept",
        old="return max_length is None or len(pair.input_ids) <= max_length",
        new="return True",
        breaks="the trainer truncates pairs that do not fit, which teaches broken programs",
        test=f"{_PAIRS}::test_no_pair_is_truncated_or_all_masked",
    ),
    _pairs(
        name="unfit targets learned",
        old="if (task.task_id, text) in unfit:",
        new="if False:",
        breaks="a target that fails its tests is learned",
        test=f"{_PAIRS}::test_targets_that_fail_are_not_learned",
    ),
    Mutant(
        name="hidden tests ignored for targets",
        file="trl_gift/training/targets.py",
        old="by_id[task_id].all_tests",
        new="by_id[task_id].tests",
        breaks="a target that fails a hidden test is learned",
        law="verdict",
        test="tests/training/test_targets.py::test_hidden_tests_count_too",
    ),
    # Rounds
    _rounds(
        name="optimizer kept",
        old="        self.optimizer = None\n        self.lr_scheduler = None\n",
        new="        pass\n",
        breaks="Adam's moments survive into the next round",
        test=f"{_ROUNDS}::test_every_round_has_an_optimizer_of_its_own_and_its_own_seed[defaults]",
    ),
    _rounds(
        name="no set_seed per round",
        old="        set_seed(self.args.seed + round_index)\n",
        new="",
        breaks="the order of examples depends on what was drawn before",
        test=f"{_ROUNDS}::test_every_round_has_an_optimizer_of_its_own_and_its_own_seed[defaults]",
    ),
    _rounds(
        name="same seed in all rounds",
        old="set_seed(self.args.seed + round_index)",
        new="set_seed(self.args.seed)",
        breaks="every round has the same order of examples",
        test=f"{_ROUNDS}::test_every_round_has_an_optimizer_of_its_own_and_its_own_seed[defaults]",
    ),
    _rounds(
        name="base weights not restored",
        old="        self.put_weights(self._base_weights)\n",
        new="",
        breaks="every round continues from the weights of the round before",
        test=f"{_ROUNDS}::test_every_round_starts_from_the_base_weights",
    ),
    _rounds(
        name="base weights remembered again",
        old="if self._base_weights is None and not self.is_sharded:",
        new="if not self.is_sharded:",
        breaks="what is restored are the weights of the round before",
        test=f"{_ROUNDS}::test_every_round_starts_from_the_base_weights",
    ),
    _trainer(
        name="restart_from_base ignored",
        old="if resume_from is None and self.args.restart_from_base and not self.is_sharded:",
        new="if resume_from is None and not self.is_sharded:",
        breaks="restart_from_base=False starts every round from the base weights",
        test=f"{_ROUNDS}::test_or_from_those_of_the_round_before",
    ),
    _trainer(
        name="accumulate_samples ignored",
        old="first = 1 if self.args.accumulate_samples else round_index",
        new="first = 1",
        breaks="accumulate_samples=False selects from the pools of all rounds",
        test=f"{_ROUNDS}::test_or_of_one_round_alone",
    ),
    _trainer(
        name="pools of other rounds ignored",
        old="first = 1 if self.args.accumulate_samples else round_index",
        new="first = round_index",
        breaks="a round selects from its own samples alone",
        test=f"{_ROUNDS}::test_the_pool_is_of_all_rounds_so_far",
    ),
    _trainer(
        name="loss_weighting ignored",
        old='if args.loss_weighting == "example":',
        new="if False:",
        breaks="long programs weigh more although each program should weigh the same",
        law="pairs",
        test=f"{_ROUNDS}::test_every_token_or_every_program_weighs_the_same[example]",
    ),
    _trainer(
        name="completion_only_loss ignored",
        old="completion_only=args.completion_only_loss is not False,",
        new="completion_only=True,",
        breaks="completion_only_loss=False still masks the prompt",
        law="pairs",
        test="tests/training/test_sft_fields.py::test_completion_only_loss",
    ),
    _trainer(
        name="continue_chains ignored",
        old="not (args.continue_chains or args.distillation in",
        new="not (args.distillation in",
        breaks="a later round's chains begin with the tasks' own words",
        law="options",
        test="tests/test_config_options.py::test_an_option_arrives_at_its_stage[continue_chains]",
    ),
    _trainer(
        name="steps of the plan not passed",
        old="self._piloted_temperature(), self._positions, self._steps\n",
        new="self._piloted_temperature(), self._positions\n",
        breaks="step_allocation='uncertain' changes nothing",
        law="allocation",
        test="tests/sampling/test_allocation.py::test_a_run_samples_by_its_plan_in_every_round",
    ),
    Mutant(
        name="gain of the wrong sign in the summary",
        file="trl_gift/run/summary.py",
        old="paired_difference(result.greedy, base)",
        new="paired_difference(base, result.greedy)",
        breaks="a round that gained is reported to have lost",
        law="intervals",
        test=f"{_ROUNDS}::test_the_gain_is_what_a_round_has_over_the_base",
    ),
)
