"""Mutants of perplexity: of which tokens, under which condition, and where sampling gives it."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_LAWS = "tests/sampling/test_chain_laws.py"
_CONTEXT = "tests/sampling/test_context.py"
_RECORDS = "tests/sampling/test_records.py"
_PAIRS = "tests/training/test_pairs.py"

_context = partial(Mutant, file="trl_gift/sampling/context.py", law="perplexity")
_records = partial(Mutant, file="trl_gift/sampling/records.py", law="perplexity")
_engine = partial(Mutant, file="trl_gift/generation/engine.py", law="perplexity")

MUTANTS = (
    _context(
        name="free perplexity after a stop text",
        old='and completion.finish_reason == "eos"',
        new='and completion.finish_reason != "length"',
        breaks="a completion that a stop text ended counts without its end token",
        test=f"{_CONTEXT}::test_only_a_completion_that_ended_by_itself_has_its_perplexity_for_free[stop]",
    ),
    _context(
        name="free perplexity of a cut completion",
        old='            and completion.finish_reason == "eos"\n',
        new="",
        breaks="a completion that the limit cut off counts without its end token",
        test=f"{_CONTEXT}::test_only_a_completion_that_ended_by_itself_has_its_perplexity_for_free[length]",
    ),
    _context(
        name="free perplexity of another text",
        old="            and found.verbatim\n",
        new="",
        breaks="what was cut off the completion counts in the perplexity of the program",
        test=f"{_CONTEXT}::test_a_program_that_is_not_all_of_the_completion_is_scored",
    ),
    _context(
        name="free perplexity of another distribution",
        old="is_condition = scores and settings.code_params.is_untouched and self._is_condition(task, origin)",
        new="is_condition = scores and self._is_condition(task, origin)",
        breaks="the pass that scores is left out at other temperatures",
        test=f"{_CONTEXT}::test_another_distribution_has_no_perplexity_for_free",
    ),
    _context(
        name="free perplexity under the wrong condition",
        old="is_condition = scores and settings.code_params.is_untouched and self._is_condition(task, origin)",
        new="is_condition = scores and settings.code_params.is_untouched",
        breaks="with the condition 'seed' the perplexity is that given the chain's description",
        test=f"{_LAWS}::test_perplexity_is_of_the_right_description[1.0-seed]",
    ),
    _context(
        name="free perplexity with another end token",
        old="            and (self._end_id is None or self._end_id == completion.token_ids[-1])\n",
        new="",
        breaks="the end token that counts is not the one that is learned",
        test="tests/sampling/test_thinking.py::test_another_end_token_is_not_the_one_that_is_learned",
    ),
    _context(
        name="free perplexity of a line in place of the prompt's end",
        old="            and completion.text.startswith(prompt.left)\n",
        new="",
        breaks="a completion that did not write the end of its prompt counts as the target that does",
        test=f"{_CONTEXT}::test_a_completion_that_skips_the_end_of_its_prompt_is_scored",
    ),
    _context(
        name="perplexity without the end token",
        old="completion.logprobs if exact else None,",
        new="completion.logprobs[:-1] if exact else None,",
        breaks="a free perplexity leaves out the end token",
        test="tests/sampling/test_thinking.py::test_a_thought_that_is_trained_on_counts_as_it_was_sampled",
    ),
    _context(
        name="scored under the wrong condition",
        old="condition, learner = self._condition(task, origin), self._learner",
        new="condition, learner = origin, self._learner",
        breaks="with the condition 'seed' programs are scored given the chain's description",
        test=f"{_LAWS}::test_perplexity_is_of_the_right_description[0.5-seed]",
    ),
    _context(
        name="always the task's own condition",
        old='return Origin(task.description) if self._settings.perplexity_condition == "seed" else origin',
        new="return Origin(task.description)",
        breaks="with the condition 'chain' programs are scored given the task's own description",
        test=f"{_LAWS}::test_perplexity_is_of_the_right_description[0.5-chain]",
    ),
    _context(
        name="hint left out of the condition",
        old="return (condition.description, condition.hint) == (origin.description, origin.hint)",
        new="return condition.description == origin.description",
        breaks="the perplexity of a hinted program is that given the hint, though the task's own words are asked for",
        test=f"{_LAWS}::test_the_perplexity_of_a_hinted_code_is_of_what_it_says[seed]",
    ),
    _context(
        name="failing programs scored",
        old="if sample.eligible and sample.logprob_sum is None]",
        new="if sample.target is not None and sample.logprob_sum is None]",
        breaks="passes of the model go into programs that are never selected",
        test=f"{_CONTEXT}::test_programs_that_failed_are_not_scored",
    ),
    _records(
        name="perplexity of the sum",
        old="math.exp(min(-self.logprob_sum / self.num_scored, _LARGEST_EXPONENT))",
        new="math.exp(min(-self.logprob_sum, _LARGEST_EXPONENT))",
        breaks="long programs count as rare",
        test=f"{_RECORDS}::test_perplexity_is_of_the_mean_token",
    ),
    _records(
        name="perplexity of the wrong sign",
        old="math.exp(min(-self.logprob_sum / self.num_scored",
        new="math.exp(min(self.logprob_sum / self.num_scored",
        breaks="likely programs count as rare",
        test=f"{_RECORDS}::test_perplexity_is_of_the_mean_token",
    ),
    _records(
        name="overflow guard",
        old="math.exp(min(-self.logprob_sum / self.num_scored, _LARGEST_EXPONENT))",
        new="math.exp(-self.logprob_sum / self.num_scored)",
        breaks="one garbled program ends the run",
        test=f"{_RECORDS}::test_a_huge_perplexity_is_a_number",
    ),
    _records(
        name="broken sum taken for a perplexity",
        old="self.logprob_sum is None or math.isnan(self.logprob_sum) or self.num_scored == 0",
        new="self.logprob_sum is None or self.num_scored == 0",
        breaks="one sum that is not a number spoils the weights of its pool",
        test=f"{_RECORDS}::test_what_is_not_a_number_is_no_perplexity",
    ),
    _engine(
        name="temperature is untouched",
        old="self.temperature == 1.0\n            and ",
        new="",
        breaks="at another temperature the sampling is taken for the model's own distribution",
        test=f"{_CONTEXT}::test_another_distribution_has_no_perplexity_for_free[params0]",
    ),
    _engine(
        name="top-k is untouched",
        old="            and self.top_k == 0\n",
        new="",
        breaks="with top-k the sampling is taken for the model's own distribution",
        test=f"{_CONTEXT}::test_another_distribution_has_no_perplexity_for_free[params3]",
    ),
    _engine(
        name="top-p is untouched",
        old="            and self.top_p >= 1.0\n",
        new="",
        breaks="with top-p the sampling is taken for the model's own distribution",
        test=f"{_CONTEXT}::test_another_distribution_has_no_perplexity_for_free[params2]",
    ),
    _engine(
        name="min-p is untouched",
        old="            and self.min_p <= 0.0\n",
        new="",
        breaks="with min-p the sampling is taken for the model's own distribution",
        test=f"{_CONTEXT}::test_another_distribution_has_no_perplexity_for_free[params5]",
    ),
    _engine(
        name="repetition penalty is untouched",
        old="            and self.repetition_penalty == 1.0\n",
        new="",
        breaks="with a repetition penalty the sampling is taken for the model's own distribution",
        test=f"{_CONTEXT}::test_another_distribution_has_no_perplexity_for_free[params6]",
    ),
    Mutant(
        name="target without the end token, base",
        file="trl_gift/prompts/base.py",
        law="perplexity",
        old="return before, [*after, end_token(self.tokenizer)]",
        new="return before, list(after)",
        breaks="a base model is neither scored on its end token nor learns to end",
        test=f"{_PAIRS}::test_loss_is_on_the_completion_and_the_end_token_only",
    ),
    Mutant(
        name="target without the end token, chat",
        file="trl_gift/prompts/chat.py",
        law="perplexity",
        old="return before, [*after, self._turn_end]",
        new="return before, list(after)",
        breaks="a chat model is neither scored on the end of its turn nor learns to end",
        test="tests/prompts/test_prompts.py::test_a_target_ends_with_the_end_of_the_turn",
    ),
)
