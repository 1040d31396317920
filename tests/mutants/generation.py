"""Mutants of how tokens are drawn, ended and scored."""

from __future__ import annotations

from functools import partial

from tests.mutants.mutant import Mutant

_ENGINES = "tests/generation/test_engines.py"
_PROCESSORS = f"{_ENGINES}::test_the_distribution_is_that_of_transformers_processors"
_TRUNCATION = f"{_ENGINES}::test_truncation_matches_its_definition"

_decoding = partial(Mutant, file="trl_gift/generation/decoding.py", law="draws")
_rows = partial(Mutant, file="trl_gift/generation/compact/rows.py", law="streams")

MUTANTS = (
    _decoding(
        name="temperature in the log-probabilities",
        old="own.gather(-1, tokens).log()",
        new="tempered.gather(-1, tokens).log()",
        breaks="log-probabilities, and so perplexities, are those of the tempered distribution",
        law="log-probabilities",
        test=_PROCESSORS,
    ),
    _decoding(
        name="truncation in the log-probabilities",
        old="own.gather(-1, tokens).log()",
        new="(truncate(own, params) / truncate(own, params).sum(-1, keepdim=True)).gather(-1, tokens).log()",
        breaks="log-probabilities, and so perplexities, are those of the truncated distribution",
        law="log-probabilities",
        test=_PROCESSORS,
    ),
    _decoding(
        name="penalty in the log-probabilities",
        old="own = torch.softmax(logits.to(wide), dim=-1)",
        new="own = torch.softmax(penalised.to(wide), dim=-1)",
        breaks="log-probabilities, and so perplexities, are those of the penalised logits",
        law="log-probabilities",
        test=_PROCESSORS,
    ),
    _decoding(
        name="penalty in the greedy log-probabilities",
        old="logprobs = logits.gather(-1, tokens) - logits.logsumexp(dim=-1, keepdim=True)",
        new="logprobs = penalised.gather(-1, tokens) - penalised.logsumexp(dim=-1, keepdim=True)",
        breaks="greedy log-probabilities are those of the penalised logits",
        law="log-probabilities",
        test=f"{_ENGINES}::test_greedy_decoding_obeys_the_repetition_penalty_alone",
    ),
    _decoding(
        name="inverse temperature",
        old="penalised.to(wide) / params.temperature",
        new="penalised.to(wide) * params.temperature",
        breaks="a low temperature draws more of the tail",
        test=_PROCESSORS,
    ),
    _decoding(
        name="temperature ignored",
        old="is_own = penalised is logits and params.temperature == 1.0",
        new="is_own = penalised is logits",
        breaks="without a penalty every temperature is 1",
        test=f"{_ENGINES}::test_a_temperature_alone_tempers",
    ),
    _decoding(
        name="greedy ignores the penalty",
        old="tokens = penalised.argmax(dim=-1, keepdim=True)",
        new="tokens = logits.argmax(dim=-1, keepdim=True)",
        breaks="greedy programs ignore the repetition penalty",
        test=f"{_ENGINES}::test_greedy_decoding_obeys_the_repetition_penalty_alone",
    ),
    _decoding(
        name="penalty rewards negative logits",
        old="torch.where(logits < 0, logits * penalty, logits / penalty)",
        new="logits / penalty",
        breaks="a repeated token with a negative logit becomes likelier",
        test=f"{_ENGINES}::test_the_penalty_takes_contexts_of_unlike_length_and_ids_beyond_the_head",
    ),
    _decoding(
        name="top-k keeps one less",
        old="probabilities.topk(params.top_k, dim=-1)",
        new="probabilities.topk(max(1, params.top_k - 1), dim=-1)",
        breaks="top_k=2 is greedy",
        test=_TRUNCATION,
    ),
    _decoding(
        name="top-p keeps one less",
        old="last = ((cumulative - ordered) < mass).sum(dim=-1, keepdim=True) - 1",
        new="last = ((cumulative - ordered) < mass).sum(dim=-1, keepdim=True) - 2",
        breaks="the mass of the nucleus does not reach top_p",
        test=_TRUNCATION,
    ),
    _decoding(
        name="top-p keeps one more",
        old="last = ((cumulative - ordered) < mass).sum(dim=-1, keepdim=True) - 1",
        new="last = ((cumulative - ordered) < mass).sum(dim=-1, keepdim=True).clamp(max=count - 1)",
        breaks="the nucleus holds a token that it does not need",
        test=_TRUNCATION,
    ),
    _decoding(
        name="min-p of everything",
        old="params.min_p * probabilities.max(dim=-1, keepdim=True).values",
        new="params.min_p",
        breaks="min_p is a probability of its own instead of a share of the likeliest token's",
        test=_TRUNCATION,
    ),
    _decoding(
        name="stop text kept",
        old="text=text if cut is None else text[:cut],",
        new="text=text,",
        breaks="what a stop text cuts off stays in the completion",
        test=f"{_ENGINES}::test_stop_texts_cut_and_end[generate]",
    ),
    _decoding(
        name="cut completion ended by itself",
        old='"stop" if cut is not None else "eos" if ended else "length"',
        new='"stop" if cut is not None else "eos"',
        breaks="a completion that the limit cut off counts as ended",
        test=f"{_ENGINES}::test_batches_do_not_change_a_sample[generate-7]",
    ),
    Mutant(
        name="last stop text cuts",
        file="trl_gift/generation/stops.py",
        old="return min(ends, default=None)",
        new="return max(ends, default=None)",
        breaks="a completion is cut at the last of several ends",
        law="draws",
        test=f"{_ENGINES}::test_a_completion_ends_where_its_program_is_closed",
    ),
    Mutant(
        name="scores shifted",
        file="trl_gift/generation/scoring.py",
        old="logprobs[index, len(prompt) - 1 - offset : len(prompt) - 1 - offset + len(completion)]",
        new="logprobs[index, len(prompt) - offset : len(prompt) - offset + len(completion)]",
        breaks="a score is that of the next token",
        law="log-probabilities",
        test=f"{_ENGINES}::test_logprobs_are_those_of_a_fresh_forward_pass[generate]",
    ),
    _rows(
        name="one stream for all copies",
        old="uniforms(request.stream_keys[index], request.params.max_new_tokens)",
        new="uniforms(request.stream_keys[0], request.params.max_new_tokens)",
        breaks="all completions of a request are equal",
        test=f"{_ENGINES}::test_batches_do_not_change_a_sample[compact-7]",
    ),
    _rows(
        name="first number of the stream at every token",
        old="strand.uniforms[len(row.token_ids)]",
        new="strand.uniforms[0]",
        breaks="every token of a completion is drawn with the same number",
        test=f"{_ENGINES}::test_batches_do_not_change_a_sample[compact-7]",
    ),
    Mutant(
        name="reference engine reuses a number",
        file="trl_gift/generation/generate.py",
        old="self._uniforms[:, position, None]",
        new="self._uniforms[:, 0, None]",
        breaks="every token of a completion is drawn with the same number",
        law="streams",
        test=f"{_ENGINES}::test_batches_do_not_change_a_sample[compact-7]",
    ),
    Mutant(
        name="keys without type names",
        file="trl_gift/common/randomness.py",
        old="{type(name).__name__}:{name}",
        new="{name}",
        breaks="the step 1 and a task named '1' may share a stream",
        law="streams",
        test="tests/common/test_randomness.py::test_distinct_names_give_distinct_keys",
    ),
    Mutant(
        name="keys without separator",
        file="trl_gift/common/randomness.py",
        old='"\\x1f".join(',
        new='"".join(',
        breaks="names that run together may share a stream",
        law="streams",
        test="tests/common/test_randomness.py::test_names_do_not_run_together",
    ),
)
