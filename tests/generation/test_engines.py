"""One suite for all engines: the reference and the others must draw the very same samples."""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from tests.support.completion_server import serve
from tests.support.generation import requests_for, run
from trl_gift.generation import GenerateEngine, GenerationRequest, SamplingParams
from trl_gift.generation.compact import CompactEngine
from trl_gift.generation.decoding import draw_tokens, penalise, truncate
from trl_gift.generation.server.client import CompletionClient
from trl_gift.generation.server.engine import ServerEngine
from trl_gift.generation.stops import StopFinder, TokenTexts, text_end

# Engines that draw from the streams they are given. Our completion server does so with its seeds, so that the client
# has to bring every request and every answer through unchanged.
ENGINES = {"generate": GenerateEngine, "compact": CompactEngine, "server": ServerEngine}
# Every draw through HTTP takes long, and the draws are those of `generate`.
OWN_SAMPLERS = ENGINES.keys() - {"server"}


def served(servers, model, tokenizer, batch_size=64):
    """A client with a server of its own: neither models nor tokenizers may be used by two threads at once."""
    url, _ = servers.enter_context(serve(copy.deepcopy(model), copy.deepcopy(tokenizer)))
    return ServerEngine(CompletionClient(url), tokenizer, batch_size=batch_size)


@pytest.fixture(params=sorted(ENGINES))
def engine_class(request):
    with ExitStack() as servers:
        yield partial(served, servers) if request.param == "server" else ENGINES[request.param]


@pytest.fixture(params=sorted(ENGINES))
def any_engine_class(request):
    with ExitStack() as servers:
        yield partial(served, servers) if request.param == "server" else ENGINES[request.param]


@pytest.fixture(scope="module")
def expected(model, tokenizer):
    """The samples of the reference engine, one completion at a time."""
    engine = GenerateEngine(model, tokenizer, batch_size=1)
    return run(engine, requests_for(tokenizer, copies=3))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_do_not_change_a_sample(engine_class, model, tokenizer, expected, batch_size):
    results = run(engine_class(model, tokenizer, batch_size=batch_size), requests_for(tokenizer))
    for key, completions in expected.items():
        assert [c.token_ids for c in results[key]] == [c.token_ids for c in completions]
        assert [c.text for c in results[key]] == [c.text for c in completions]
        for ours, theirs in zip(results[key], completions, strict=True):
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=1e-4, atol=1e-5)
    reasons = {c.finish_reason for completions in expected.values() for c in completions}
    assert reasons == {"eos", "length"}, "the fixture must exercise both ends"


def test_long_rows_outlive_many_short_ones(model_factory, tokenizer):
    """The cache has to move and to grow: rows of very different length, joining late, behind prompts of any length."""
    model = model_factory(end_bias=1.0)
    long = SamplingParams(300)
    requests = requests_for(tokenizer, SamplingParams(30), count=20)
    requests[0] = GenerationRequest("long", requests[0].prompt_ids, long, (5, 6))
    requests[7] = GenerationRequest("late", requests[7].prompt_ids * 12, long, (7,))
    reference = run(GenerateEngine(model, tokenizer, batch_size=1), requests)
    compact = run(CompactEngine(model, tokenizer, batch_size=5), requests)
    assert {k: [c.token_ids for c in v] for k, v in compact.items()} == {
        k: [c.token_ids for c in v] for k, v in reference.items()
    }


def test_order_of_submission_does_not_matter(engine_class, model, tokenizer, expected):
    results = run(engine_class(model, tokenizer, batch_size=8), list(reversed(requests_for(tokenizer))))
    assert {k: [c.token_ids for c in v] for k, v in results.items()} == {
        k: [c.token_ids for c in v] for k, v in expected.items()
    }


def test_greedy_is_the_model_s_own_greedy(any_engine_class, model, tokenizer):
    (request,) = requests_for(tokenizer, SamplingParams(12, temperature=0.0), count=1, copies=1)
    ((completion,),) = run(any_engine_class(model, tokenizer), [request]).values()
    ids = torch.tensor([request.prompt_ids])
    with torch.no_grad():
        for token in completion.token_ids:
            logits = model(input_ids=ids).logits[0, -1]
            assert int(logits.argmax()) == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_logprobs_are_those_of_a_fresh_forward_pass(any_engine_class, model, tokenizer):
    """Whatever the temperature and truncation, the log-probabilities are the untouched model's."""
    params = SamplingParams(24, temperature=0.7, top_p=0.9, top_k=50, min_p=0.01, repetition_penalty=1.2)
    requests = requests_for(tokenizer, params, count=5, copies=2)
    engine = any_engine_class(model, tokenizer, batch_size=4)
    results = run(engine, requests)
    pairs = [(r.prompt_ids, c.token_ids) for r in requests for c in results[r.key]]
    for (prompt, tokens), scored in zip(pairs, engine.score(pairs), strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0].double()
        fresh = [float(logits[len(prompt) - 1 + i].log_softmax(-1)[t]) for i, t in enumerate(tokens)]
        np.testing.assert_allclose(scored, fresh, rtol=1e-4, atol=1e-5)
        sampled = next(c.logprobs for r in requests for c in results[r.key] if c.token_ids == tokens)
        np.testing.assert_allclose(sampled, fresh, rtol=1e-4, atol=1e-5)
        perplexity = math.exp(-sum(sampled) / len(sampled))
        assert perplexity == pytest.approx(math.exp(-sum(fresh) / len(fresh)), rel=1e-4)


def test_stop_texts_cut_and_end(engine_class, model_factory, tokenizer):
    model = model_factory(seed=3)
    plain = run(engine_class(model, tokenizer), requests_for(tokenizer))
    texts = [c.text for cs in plain.values() for c in cs]
    stop = next(
        pair for text in texts for i in range(6, len(text)) if len(pair := text[i : i + 2]) == 2 and pair.isascii()
    )
    stopped = run(engine_class(model, tokenizer), requests_for(tokenizer, SamplingParams(24, stop=(stop,))))
    some = 0
    for key, completions in stopped.items():
        for ours, free in zip(completions, plain[key], strict=True):
            if stop in free.text:
                some += 1
                assert ours.text == free.text.split(stop)[0]
                assert ours.finish_reason == "stop"
                assert len(ours.token_ids) <= len(free.token_ids)
            else:
                assert ours.token_ids == free.token_ids
    assert some


def test_mixed_parameters_in_one_engine(engine_class, model, tokenizer, expected):
    greedy = [
        GenerationRequest(("greedy", r.key), r.prompt_ids, SamplingParams(8, temperature=0.0), (0,))
        for r in requests_for(tokenizer)
    ]
    results = run(engine_class(model, tokenizer, batch_size=6), [*requests_for(tokenizer), *greedy])
    for key, completions in expected.items():
        assert [c.token_ids for c in results[key]] == [c.token_ids for c in completions]
    assert all(len(results[("greedy", r.key)][0].token_ids) <= 8 for r in requests_for(tokenizer))


def test_the_model_is_left_as_it_was(engine_class, model_factory, tokenizer):
    model = model_factory()
    model.train()
    model.generation_config.repetition_penalty = 3.0  # must not touch the samples
    results = run(engine_class(model, tokenizer), requests_for(tokenizer, count=2))
    assert model.training
    assert model.generation_config.repetition_penalty == 3.0
    clean = run(engine_class(model_factory(), tokenizer), requests_for(tokenizer, count=2))
    assert [c.token_ids for c in results[0]] == [c.token_ids for c in clean[0]]


@pytest.mark.parametrize("kind", sorted(OWN_SAMPLERS))
def test_first_tokens_follow_the_model(kind, model, tokenizer):
    """20,000 first tokens against the exact distribution: chi-square over the likely tokens."""
    from scipy.stats import chisquare

    prompt = tuple(tokenizer("def solve(xs):\n")["input_ids"])
    draws = 4000
    requests = [
        GenerationRequest(i, prompt, SamplingParams(1), tuple(range(40 * i, 40 * i + 40))) for i in range(draws // 40)
    ]
    results = run(ENGINES[kind](model, tokenizer, batch_size=400), requests)
    tokens = [c.token_ids[0] for cs in results.values() for c in cs]
    with torch.no_grad():
        probabilities = model(input_ids=torch.tensor([prompt])).logits[0, -1].double().softmax(-1).numpy()
    counts = np.bincount(tokens, minlength=len(probabilities))
    likely = probabilities * draws >= 5
    observed = [*counts[likely], counts[~likely].sum()]
    wanted = [*(probabilities[likely] * draws), probabilities[~likely].sum() * draws]
    assert chisquare(observed, wanted).pvalue > 1e-3


def test_truncation_matches_its_definition():
    probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
    assert truncate(probabilities, SamplingParams(1, top_k=2)).tolist() == [[0.5, 0.3, 0.0, 0.0]]
    assert truncate(probabilities, SamplingParams(1, top_p=0.6)).tolist() == [[0.5, 0.3, 0.0, 0.0]]
    assert truncate(probabilities, SamplingParams(1, top_p=1e-9)).tolist() == [[0.5, 0.0, 0.0, 0.0]]
    # A share of the likeliest token's probability, not a probability.
    assert truncate(probabilities, SamplingParams(1, min_p=0.2)).tolist() == [[0.5, 0.3, 0.15, 0.0]]


@pytest.mark.parametrize(
    "options",
    [
        {"min_p": 0.2},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.8, "temperature": 0.7, "top_k": 12, "top_p": 0.9, "min_p": 0.1},
    ],
)
def test_the_distribution_is_that_of_transformers_processors(options):
    """Order and meaning: repetition penalty, temperature, top-k, top-p, min-p."""
    random = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(1, 40, generator=random)
    context = [3, 5, 5, 17]
    params = SamplingParams(1, **options)
    scores = logits.double()
    for processor in (
        transformers.RepetitionPenaltyLogitsProcessor(params.repetition_penalty),
        transformers.TemperatureLogitsWarper(params.temperature),
        transformers.TopKLogitsWarper(params.top_k or 40),
        transformers.TopPLogitsWarper(params.top_p),
        transformers.MinPLogitsWarper(params.min_p),
    ):
        scores = processor(torch.tensor([context]), scores)
    wanted = scores.softmax(-1)[0]
    numbers = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    draws = draw_tokens(logits, numbers[None], params, [context])
    found = torch.bincount(draws.tokens[0], minlength=40) / 20_000
    assert torch.allclose(found.double(), wanted, atol=1e-4)
    own = logits.double().log_softmax(-1)[0]
    assert torch.allclose(draws.logprobs[0], own[draws.tokens[0]]), "log-probabilities are the untouched model's"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_temperature_alone_tempers(temperature):
    """Without a penalty too; the model's own probabilities stay those that are returned."""
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    numbers = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    draws = draw_tokens(logits, numbers[None], SamplingParams(1, temperature=temperature))
    found = torch.bincount(draws.tokens[0], minlength=4).double() / 10_000
    assert torch.allclose(found, (logits[0].double() / temperature).softmax(-1), atol=2e-4)
    own = logits[0].double().log_softmax(-1)
    assert torch.allclose(draws.logprobs[0], own[draws.tokens[0]])


def test_the_penalty_takes_contexts_of_unlike_length_and_ids_beyond_the_head():
    logits = torch.tensor([[2.0, -2.0, 1.0], [2.0, -2.0, 1.0]])
    assert penalise(logits, [[0, 7], [1]], 2.0).tolist() == [[1.0, -2.0, 1.0], [2.0, -4.0, 1.0]]


def test_greedy_decoding_obeys_the_repetition_penalty_alone():
    logits = torch.tensor([[1.0, 1.2, -0.1]])
    number = torch.zeros(1, 1, dtype=torch.float64)
    greedy = SamplingParams(1, temperature=0.0, min_p=0.9, repetition_penalty=1.3)
    assert draw_tokens(logits, number, greedy, [[1]]).tokens.tolist() == [[0]]
    assert draw_tokens(logits, number, greedy, [[0]]).tokens.tolist() == [[1]]
    assert torch.allclose(draw_tokens(logits, number, greedy, [[1]]).logprobs, logits.log_softmax(-1)[:, :1])


def test_draw_never_leaves_the_support():
    logits = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]])
    for number in (0.0, 0.2689, 0.5, 1.0 - 2.0**-53):
        draws = draw_tokens(logits, torch.tensor([[number]], dtype=torch.float64), SamplingParams(1))
        assert int(draws.tokens) in (0, 2)


def test_a_completion_ends_where_its_program_is_closed():
    """Only a Python fence that holds the wanted text ends it: no opening fence, no sample input, no helper."""
    params = SamplingParams(9, fence="def f")
    program = "```python\ndef f(x):\n    return x\n```"
    for before in (
        "",
        "Sure:\n",
        "The input is\n```\n3\n```\nSo:\n",
        "```python\ndef helper(x):\n    return x\n```\n",
    ):
        for after in ("", "\n", "\nThis gives x back."):
            assert text_end(before + program + after, params) == len(before + program)
        assert text_end((before + program)[:-1], params) is None
    assert text_end("```py\nx = 1\n```", SamplingParams(9, fence="")) == 15
    assert text_end("```\nx = 1\n```", SamplingParams(9, fence="")) is None
    assert text_end(f"{program} STOP", replace(params, stop=("return",))) == program.index("return")
    assert text_end(f"{program}\n", replace(params, stop=("return",))) == program.index("return"), (
        "the first of two ends"
    )
    assert text_end("a STOP b END c", SamplingParams(9, stop=("END", "STOP"))) == 2
    assert text_end(program, replace(params, fence=None)) is None


def test_the_finder_sees_the_closing_fence_in_the_token_that_completes_it(tokenizer):
    text = "A program:\n```python\ndef f(x):\n    return x\n```\nand words"
    params, texts = SamplingParams(99, fence="def f", stop=("never",)), TokenTexts(tokenizer)
    finder, seen = StopFinder(texts, params), []
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        twin = finder.copy()
        seen.append(token)
        if finder.add(token):
            assert twin.add(token)
            break
    assert tokenizer.decode(seen).rstrip().endswith("return x\n```")


@pytest.mark.parametrize("adapted", [False, True], ids=["model", "adapter"])
def test_a_models_own_generation_config_changes_no_sample(model, tokenizer, expected, adapted):
    own = copy.deepcopy(model)
    own.generation_config.update(
        min_new_tokens=8,
        suppress_tokens=list(range(20, 60)),
        bad_words_ids=[[7]],
        num_return_sequences=3,
        num_beams=3,
        repetition_penalty=1.5,
        no_repeat_ngram_size=2,
        forced_eos_token_id=5,
        max_length=3,
        do_sample=True,
        top_k=1,
    )
    before = own.generation_config.to_dict()
    if adapted:
        own = get_peft_model(own, LoraConfig(task_type="CAUSAL_LM"))
    results = run(GenerateEngine(own, tokenizer, batch_size=16), requests_for(tokenizer, copies=3))
    assert {key: [c.token_ids for c in found] for key, found in results.items()} == {
        key: [c.token_ids for c in found] for key, found in expected.items()
    }
    assert own.generation_config.to_dict() == before
