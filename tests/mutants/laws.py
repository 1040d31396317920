"""The laws of the method. `docs/laws.md` shows them with their tests and mutants."""

from __future__ import annotations

from tests.mutants.mutant import Law

_LAWS = "tests/sampling/test_chain_laws.py"
_CONTEXT = "tests/sampling/test_context.py"
_BUDGET = "tests/sampling/test_budget.py"
_ATTEMPTS = "tests/evaluation/test_attempts.py"
_ENGINES = "tests/generation/test_engines.py"
_SELECTION = "tests/training/test_selection.py"
_ROUNDS = "tests/training/test_rounds.py"
_PROMPTS = "tests/prompts/test_prompts.py"
CHAIN = "assets/chain.svg"
GIFT = "[GiFT](https://huggingface.co/papers/2502.11466)"
RFT = "[RFT](https://huggingface.co/papers/2308.01825)"

LAWS = (
    Law(
        "marginal",
        "The chain `d_i → c_1 → d_1 → c_2 → …` forgets the words that it started from: its late programs follow the marginal "
        "`P(c) = Σ_d P(c | d) P(d)`, and where the two conditionals share no joint, the stationary distribution of the kernel "
        "`P(c' | c) = Σ_d P(c' | d) P(d | c)`.",
        f"{GIFT}, section 3.2",
        (
            f"{_LAWS}::test_the_chain_reaches_the_marginal_of_the_intention",
            f"{_LAWS}::test_inconsistent_conditionals_reach_the_stationary_distribution",
            f"{_LAWS}::test_an_unverified_chain_reaches_the_marginal",
            f"{_LAWS}::test_a_chain_in_pieces_mixes_as_a_whole_one",
        ),
        CHAIN,
    ),
    Law(
        "first step",
        "The programs of the first step, and all programs of plain sampling (RFT), follow `P(c | d_i)`.",
        f"{GIFT}, section 3.2; {RFT}",
        (f"{_LAWS}::test_first_codes_are_conditional_samples",),
        CHAIN,
    ),
    Law(
        "continuing program",
        "One of the passing programs of a step continues the chain, each with the same chance; a failing one never does.",
        f"{GIFT}, section 3.2",
        (
            f"{_LAWS}::test_the_continuing_code_is_uniform_among_the_passing",
            f"{_CONTEXT}::test_which_program_continues_is_drawn_anew_at_each_step_and_apart_from_the_programs",
        ),
        CHAIN,
    ),
    Law(
        "fall-back",
        "A step without a passing program continues from the most recent passing program of its chain, else from the "
        "reference, else from `d_i` again.",
        f"{GIFT}, section 3.2: what its text says, and its authors' program does not",
        (f"{_LAWS}::test_fall_back_order",),
        CHAIN,
    ),
    Law(
        "equal budgets",
        "Every sampler draws `num_steps × num_generations` programs of a task, a description only where a step is written from "
        "it, and reports every token that it drew. With `max_tokens_per_round` a round draws a beginning of one order of all "
        "its steps, which ends with the step that spends the last token.",
        f"{GIFT}: its baselines draw equally many programs",
        (
            f"{_LAWS}::test_equal_budgets",
            f"{_LAWS}::test_the_last_description_is_not_drawn",
            f"{_CONTEXT}::test_the_tokens_of_a_description_count_even_if_it_is_empty",
            f"{_BUDGET}::test_a_round_ends_at_its_tokens",
            f"{_BUDGET}::test_processes_share_one_budget",
            f"{_BUDGET}::test_interrupted_anywhere_and_resumed",
        ),
    ),
    Law(
        "hints",
        "A hint is shown only for a task that the first half of its steps, rounded up, did not solve. It is the reference, "
        "the first test that the latest try failed, or the failed program that came furthest with its failure; never a hidden test.",
        "[STaR](https://huggingface.co/papers/2203.14465), section 3.2",
        (
            f"{_LAWS}::test_a_hint_is_given_only_where_plain_tries_fail",
            f"{_CONTEXT}::test_the_plain_half_of_the_steps_is_rounded_up",
            "tests/sampling/test_hints.py::test_the_hint_is_the_reference_or_the_latest_failure",
            "tests/sampling/test_hints.py::test_the_hint_is_the_first_test_that_the_latest_try_failed",
        ),
    ),
    Law(
        "reader",
        "`P(d | c)` is read from the program without its docstrings, after in-context examples that are neither the program nor "
        "the reference of the task. A description ends at the stop texts of descriptions.",
        f"{GIFT}: its authors' prompts",
        (
            f"{_LAWS}::test_the_example_is_never_the_task_itself",
            f"{_ROUNDS}::test_readers_see_an_example_that_is_not_the_task_itself",
            f"{_PROMPTS}::test_readers_see_no_docstring_of_any_program",
            f"{_PROMPTS}::test_base_models_end_programs_and_descriptions_at_different_texts",
        ),
    ),
    Law(
        "words alone",
        "A description holds no line and no long run of tokens of the program or of the reference; one that does is drawn "
        "again. A passing program that equals a reference which its chain has read is not the model's own.",
        "",
        (
            "tests/sampling/test_leaks.py::test_a_reader_that_always_quotes_yields_no_copied_sample",
            "tests/sampling/test_leaks.py::test_a_description_is_drawn_again_until_it_holds_words_alone",
            "tests/sampling/test_leaks.py::test_a_copy_of_a_reference_that_the_chain_has_read_is_not_own_work",
        ),
    ),
    Law(
        "streams",
        "Every draw is a function of `(seed, round, task, step, index, purpose)` and of the logits: no two draws share a stream, "
        "and neither order, batch, process nor a crash changes a sample.",
        "",
        (
            f"{_CONTEXT}::test_every_draw_has_a_key_of_its_own",
            f"{_CONTEXT}::test_the_programs_of_a_step_are_drawn_apart",
            f"{_LAWS}::test_order_and_sharding_do_not_matter",
            f"{_LAWS}::test_interrupted_anywhere_and_resumed",
            f"{_ENGINES}::test_batches_do_not_change_a_sample",
            "tests/common/test_randomness.py::test_distinct_names_give_distinct_keys",
        ),
    ),
    Law(
        "verdict",
        "A program passes if it passes every test, visible and hidden. An execution that failed for lack of a sandbox is not "
        "a verdict: it is not shared, not kept, and twenty in a row end the sampling.",
        "",
        (
            f"{_CONTEXT}::test_programs_are_put_to_the_hidden_tests_too",
            f"{_CONTEXT}::test_the_twentieth_execution_in_a_row_that_fails_ends_the_sampling",
            "tests/sampling/test_executions.py::test_only_what_could_not_be_carried_out_is_tried_again",
            "tests/sampling/test_store.py::test_infrastructure_failures_are_taken_again",
        ),
    ),
    Law(
        "draws",
        "A token follows the softmax of the penalised logits divided by the temperature, truncated by top-k, top-p and min-p "
        "in this order; at temperature 0 it is the likeliest one. A completion ends where the first stop text begins.",
        "",
        (
            f"{_ENGINES}::test_the_distribution_is_that_of_transformers_processors",
            f"{_ENGINES}::test_truncation_matches_its_definition",
            f"{_ENGINES}::test_first_tokens_follow_the_model",
            f"{_ENGINES}::test_stop_texts_cut_and_end",
        ),
    ),
    Law(
        "log-probabilities",
        "`log P(token)` of a sampled or scored token is the untouched model's, whatever the penalty, temperature and truncation.",
        f"{GIFT}, section 3.3",
        (
            f"{_ENGINES}::test_logprobs_are_those_of_a_fresh_forward_pass",
            f"{_ENGINES}::test_the_distribution_is_that_of_transformers_processors",
        ),
    ),
    Law(
        "perplexity",
        "`ppl(c | d) = exp(−(1/|c|) Σ_t log P(c_t | c_<t, d))` over the tokens of the program and the end token, given the "
        "description `d` that produced the program, or `d_i` if asked. Sampling gives it only where exactly these tokens were "
        "sampled from the untouched model; otherwise they are scored.",
        f"{GIFT}, section 3.3",
        (
            f"{_LAWS}::test_perplexity_is_of_the_right_description",
            f"{_CONTEXT}::test_only_a_completion_that_ended_by_itself_has_its_perplexity_for_free",
            f"{_CONTEXT}::test_another_distribution_has_no_perplexity_for_free",
            "tests/sampling/test_records.py::test_perplexity_is_of_the_mean_token",
        ),
    ),
    Law(
        "weights",
        "A program of a pool is drawn with probability `w = softmax(τ · ppl)`, `τ = perplexity_weight`, where a perplexity counts "
        "at most `perplexity_cap` above the lowest one; `τ = 0` draws uniformly.",
        f"{GIFT}, section 3.3",
        (
            f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity",
            f"{_SELECTION}::test_the_guard_bounds_every_ratio",
            f"{_SELECTION}::test_within_a_round_perplexities_count_from_their_round_s_lowest",
        ),
    ),
    Law(
        "selection",
        "Each task with an eligible program gets `K` draws with replacement from its pool: the programs that continued a chain, "
        "or all eligible ones.",
        f"{GIFT}, section 3.3",
        (
            f"{_SELECTION}::test_selection_follows_the_softmax_of_perplexity",
            f"{_SELECTION}::test_pools",
            f"{_SELECTION}::test_without_replacement_nothing_comes_twice",
            f"{_SELECTION}::test_draws_depend_on_names_alone",
        ),
    ),
    Law(
        "pairs",
        "A training pair is `(d_i, c)`: the task's own description, never the chain's, with as many copies as `c` was drawn. The "
        "loss is on the completion and the end token; no pair is truncated. Edits that are learned write exactly `c`.",
        f"{GIFT}, section 3.3",
        (
            "tests/training/test_pairs.py::test_every_code_is_paired_with_the_seed_description",
            "tests/training/test_pairs.py::test_loss_is_on_the_completion_and_the_end_token_only",
            "tests/training/test_pairs.py::test_no_pair_is_truncated_or_all_masked",
            f"{_ROUNDS}::test_every_token_or_every_program_weighs_the_same",
            "tests/training/test_edits.py::test_a_text_that_writes_another_program_is_not_learned_but_counted",
        ),
    ),
    Law(
        "texts",
        "What is learned is what the model could have sampled after the prompt that it is sampled with: one begin token, the "
        "ids of the joint text, one end token.",
        "",
        (
            f"{_PROMPTS}::test_prompts_begin_with_one_bos",
            f"{_PROMPTS}::test_base_training_ids_are_the_sampled_ids",
            "tests/prompts/test_border.py::test_a_prompt_and_its_target_are_tokenised_as_one_text",
            "tests/prompts/test_border.py::test_a_model_continues_the_prompt_that_it_learned",
        ),
    ),
    Law(
        "programs",
        "The program of an answer is the one that a careful reader would run: the last block that defines the function under "
        "test, with the pinned signature.",
        "",
        (
            "tests/codetext/test_answers.py::test_an_answer_gives_what_a_careful_reader_would_run",
            f"{_PROMPTS}::test_chat_extract_pins_the_signature",
            f"{_PROMPTS}::test_base_extract_and_target_round_trip",
        ),
    ),
    Law(
        "rounds",
        "Every round fine-tunes the base weights again, with an optimizer and a seed of its own, on draws from the pools of "
        "all rounds so far; options turn both off.",
        f"{GIFT}; [ReST-EM](https://huggingface.co/papers/2312.06585)",
        (
            f"{_ROUNDS}::test_every_round_starts_from_the_base_weights",
            f"{_ROUNDS}::test_or_from_those_of_the_round_before",
            f"{_ROUNDS}::test_every_round_has_an_optimizer_of_its_own_and_its_own_seed",
            f"{_ROUNDS}::test_the_pool_is_of_all_rounds_so_far",
            f"{_ROUNDS}::test_or_of_one_round_alone",
        ),
    ),
    Law(
        "pass@k",
        "pass@1 is the share of tasks whose greedy program passes. pass@k of `n` sampled programs, `c` of them correct, is "
        "`1 − C(n − c, k) / C(n, k)`, averaged over all tasks, the unsolved ones too.",
        "[Codex](https://huggingface.co/papers/2107.03374), equation 1",
        (
            "tests/evaluation/test_pass_at_k.py::test_pass_at_k_is_the_share_of_subsets_with_a_passing_one",
            f"{_ATTEMPTS}::test_greedy_is_the_most_likely_code_of_every_task",
            f"{_ATTEMPTS}::test_sampled_codes_follow_the_temperature_of_the_evaluation",
            f"{_ATTEMPTS}::test_unsolved_tasks_count_in_pass_at_k",
            f"{_ATTEMPTS}::test_what_could_not_be_executed_is_not_a_wrong_answer",
        ),
    ),
    Law(
        "intervals",
        "An interval is of 95 %: Wilson's of a share, the bootstrap's over tasks of a mean. A gain is what came after less "
        "what was before, paired by task.",
        "",
        (
            "tests/evaluation/test_pass_at_k.py::test_wilson_s_interval_by_hand",
            f"{_ATTEMPTS}::test_the_bootstrap_interval_is_of_95_percent",
            f"{_ATTEMPTS}::test_a_gain_is_what_came_after_less_what_was_before",
            f"{_ROUNDS}::test_the_gain_is_what_a_round_has_over_the_base",
        ),
    ),
    Law(
        "paired comparison",
        "Two configs are compared on the same seeds and the same held-out tasks, as the other less the first. The interval over "
        "the seeds is Student's t of the paired differences; that over the tasks is a bootstrap over the tasks, each with its mean "
        "over the seeds. All tokens of all rounds count.",
        "",
        (
            "tests/run/test_compared.py::test_differences_by_hand",
            "tests/run/test_compared.py::test_the_quantiles_are_student_s",
            "tests/run/test_compared.py::test_the_figures_of_a_run_are_of_all_tasks_and_rounds",
        ),
    ),
    Law(
        "forecast",
        "A pilot's pass@k is without bias up to its number of samples; beyond it, it is `1 - B(a, b + k) / B(a, b)` of the "
        "Beta(a, b) that makes the counts of passes most likely. The pilot's streams are not the run's.",
        "",
        (
            "tests/estimate/test_forecast.py::test_many_tasks_give_the_truth",
            "tests/estimate/test_forecast.py::test_few_tasks_have_an_interval_that_covers",
            "tests/estimate/test_forecast.py::test_the_pilot_s_chains_are_not_the_run_s",
        ),
    ),
    Law(
        "refinement",
        "A program is refined only if it fails the visible tests, and their first failure is all that the prompt shows; all tests "
        "decide about each program. Plain figures do not change. Each refinement has a stream of its own.",
        "[Personalised Distillation](https://huggingface.co/papers/2310.18628), multi-step inference",
        (
            "tests/evaluation/test_refining.py::test_the_hidden_tests_decide_and_are_never_shown",
            "tests/evaluation/test_refining.py::test_plain_figures_stay_and_those_of_the_procedure_stand_beside_them",
            "tests/evaluation/test_refining.py::test_each_refinement_has_a_stream_of_its_own_whatever_the_order",
            "tests/cli/test_refining.py::test_beside_the_plain_figures_and_whatever_the_batch",
        ),
    ),
    Law(
        "repair",
        "A failed program is told its first failure in a visible test; one that fails a hidden test alone is not repaired. The "
        "programs that came furthest are repaired first, of the tasks that were solved least often first. A repair has a stream "
        "of its own, so a budget changes no program that is drawn, and a chain of the next round may begin with it.",
        "[Personalised Distillation](https://huggingface.co/papers/2310.18628), section 3; departures: several turns, the order",
        (
            "tests/distillation/test_plan.py::test_a_failure_in_a_hidden_test_is_never_told",
            "tests/distillation/test_plan.py::test_the_tasks_of_each_distillation",
            "tests/distillation/test_plan.py::test_tasks_with_few_passes_come_first_then_first_turns",
            "tests/distillation/test_runs.py::test_a_budget_goes_to_unsolved_tasks_and_the_student_repairs_itself",
            "tests/distillation/test_runs.py::test_chains_of_the_next_round_begin_with_repaired_programs",
        ),
    ),
    Law(
        "what is learned of a teacher",
        "Only programs that pass all tests are learned. The wrong program of a lesson is the student's own. `self-repair` keeps "
        "right programs as they are in a set share.",
        "[Personalised Distillation](https://huggingface.co/papers/2310.18628), section 3",
        (
            "tests/distillation/test_sets.py::test_what_each_set_holds",
            "tests/distillation/test_sets.py::test_self_repair_keeps_what_is_right_in_a_set_share",
            "tests/distillation/test_runs.py::test_rectified_programs_have_a_lineage_and_are_learned",
        ),
    ),
    Law(
        "cost of a teacher",
        "No answer of an endpoint is paid for twice, whenever the run is killed; what answers cost never exceeds its limit; the "
        "key is in no file and no message.",
        "",
        (
            "tests/distillation/test_endpoint.py::test_no_answer_is_paid_for_twice",
            "tests/distillation/test_endpoint.py::test_money_is_never_spent_beyond_its_limit",
            "tests/distillation/test_endpoint.py::test_a_refusal_is_told_at_once_and_without_the_key",
            "tests/distillation/test_runs.py::test_a_killed_run_pays_for_nothing_twice_and_its_key_is_nowhere",
        ),
    ),
    Law(
        "chains of another model",
        "What is recorded is what the sampling model draws for itself, whatever the engine, the number of processes and a kill; perplexities "
        "are those of a forward pass of the model that `perplexity_model` names; targets are those of the model in training.",
        "[GiFT](https://huggingface.co/papers/2502.11466), the distillation setting",
        (
            "tests/sampling/test_sampling_model.py::test_the_samples_are_those_that_the_sampling_model_draws_for_itself",
            "tests/sampling/test_sampling_model.py::test_perplexities_are_those_of_a_plain_forward_pass_of_either_model",
            "tests/sampling/test_sampling_model.py::test_each_model_is_asked_in_its_own_words",
            "tests/sampling/test_sampling_model.py::test_two_processes_draw_what_one_does",
            "tests/sampling/test_sampling_model.py::test_a_killed_run_draws_what_is_missing",
        ),
    ),
    Law(
        "preference pairs",
        "A pair is a program that passed and one that was executed and failed, of one task. Programs of one step come first, then "
        "the smallest edit distance. Prompts and tokens are those of the training.",
        "",
        (
            "tests/export/test_pairs.py::test_a_pair_is_absent_only_if_nearer_ones_have_used_up_its_programs",
            "tests/export/test_exporting.py::test_a_pair_is_a_passing_and_a_failing_program_of_one_task",
            "tests/export/test_exporting.py::test_in_plain_text_the_tokens_are_those_of_the_training",
        ),
    ),
    Law(
        "options",
        "Every option arrives at its stage with the value that was given.",
        "",
        ("tests/test_config_options.py::test_an_option_arrives_at_its_stage",),
    ),
    Law(
        "allocation",
        "With `step_allocation='uncertain'` a task's steps follow `p (1 − p)` of its measured pass rate, and their sum stays that "
        "of the uniform plan. Curation keeps the rates strictly between its bounds.",
        "",
        (
            "tests/sampling/test_allocation.py::test_the_shares_by_hand",
            "tests/sampling/test_allocation.py::test_a_rate_nearer_to_one_half_never_gets_fewer_steps",
            "tests/sampling/test_curation.py::test_rates_strictly_between_the_bounds_are_kept",
        ),
    ),
    Law(
        "overlap",
        "A training task is left out if its share of common n-grams with an evaluation task reaches the threshold, or if their "
        "references are the same program.",
        "",
        (
            "tests/tasks/test_decontamination.py::test_a_share_that_reaches_the_threshold_is_an_overlap",
            "tests/tasks/test_decontamination.py::test_a_reference_of_just_enough_nodes_is_compared",
        ),
    ),
)
