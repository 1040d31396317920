"""What only the compact engine promises: budgets, running out of memory, adapters and other precisions."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.support.generation import Memory, ids, requests_for, run
from trl_gift.generation import GenerateEngine, GenerationRequest, SamplingParams
from trl_gift.generation.compact import CompactEngine
from trl_gift.generation.compact import engine as compact
from trl_gift.generation.stops import StopFinder, TokenTexts


@pytest.fixture(scope="module")
def expected(model, tokenizer):
    return ids(run(GenerateEngine(model, tokenizer, batch_size=1), requests_for(tokenizer)))


@pytest.mark.parametrize("fail_at", [(1,), (2,), (9,), (3, 7, 20), tuple(range(10, 14))])
def test_out_of_memory_loses_nothing(model, tokenizer, expected, fail_at):
    with Memory(model, fail_at) as memory:
        assert ids(run(CompactEngine(model, tokenizer, batch_size=32), requests_for(tokenizer))) == expected
    assert memory.failures == len(fail_at)


def test_the_batch_shrinks_until_it_fits(model, tokenizer, expected):
    with Memory(model, most_rows=5) as memory:
        assert ids(run(CompactEngine(model, tokenizer, batch_size=64), requests_for(tokenizer))) == expected
    assert 0 < memory.failures <= 5
    assert memory.widest <= 5


def test_no_memory_for_a_single_row_is_an_error(model, tokenizer):
    with Memory(model, most_rows=0), pytest.raises(torch.OutOfMemoryError):
        run(CompactEngine(model, tokenizer, batch_size=4), requests_for(tokenizer))


def test_the_batch_grows_back_after_a_calm_while(model, tokenizer, expected, monkeypatch):
    monkeypatch.setattr(compact, "_CALM_STEPS", 5)
    with Memory(model, fail_at=(1, 2)) as memory:
        assert ids(run(CompactEngine(model, tokenizer, batch_size=16), requests_for(tokenizer))) == expected
    assert memory.widest > 4, "two failures leave 4 slots; it never grew"


def test_scoring_survives_too(model, tokenizer):
    engine = CompactEngine(model, tokenizer, batch_size=16)
    pairs = [([5, 6, 7], [8, 9, 10 + i]) for i in range(12)]
    whole = engine.score(pairs)
    with Memory(model, most_rows=4) as memory:
        assert engine.score(pairs) == [pytest.approx(scores) for scores in whole]
    assert memory.failures == 2


def test_the_token_budget_bounds_what_is_in_flight(model, tokenizer, expected):
    requests = requests_for(tokenizer)
    budget = 3 * max(len(request.prompt_ids) + request.params.max_new_tokens for request in requests)
    with Memory(model) as memory:
        engine = CompactEngine(model, tokenizer, batch_size=64, token_budget=budget)
        assert ids(run(engine, requests)) == expected
    smallest = min(len(request.prompt_ids) + request.params.max_new_tokens for request in requests)
    assert 3 <= memory.widest <= budget // smallest
    with Memory(model) as memory:
        assert ids(run(CompactEngine(model, tokenizer, batch_size=64, token_budget=1), requests)) == expected
    assert memory.widest == 1


def test_free_memory_gives_the_budget(monkeypatch, model, tokenizer):
    from types import SimpleNamespace

    from transformers import DynamicCache

    prefill = DynamicCache()
    model(input_ids=torch.tensor([[5, 6, 7]]), past_key_values=prefill)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 20_000))
    # 2 layers x keys and values x 2 heads x 8 x 4 bytes = 256 bytes a token; half of 10,000 bytes holds 19.
    on_gpu, elsewhere = (SimpleNamespace(device=torch.device(kind)) for kind in ("cuda", "mps"))
    assert compact._affordable_tokens(prefill, on_gpu) == 19
    assert compact._affordable_tokens(prefill, elsewhere) is None
    # On a CPU all memory but the weights counts as free.
    monkeypatch.setattr("trl_gift.generation.model.machine_memory", lambda: model.get_memory_footprint() + 10_000)
    assert compact._affordable_tokens(prefill, model) == 19


def test_on_a_gpu_the_budget_holds_from_the_first_completions_on(monkeypatch, model, tokenizer, expected):
    requests = requests_for(tokenizer)
    budget = 3 * max(len(request.prompt_ids) + request.params.max_new_tokens for request in requests)
    monkeypatch.setattr(compact, "_affordable_tokens", lambda prefill, device: budget)
    engine = CompactEngine(model, tokenizer, batch_size=64)
    monkeypatch.setattr(engine, "_on_cpu", False)
    with Memory(model) as memory:
        assert ids(run(engine, requests)) == expected
    smallest = min(len(request.prompt_ids) + request.params.max_new_tokens for request in requests)
    assert 3 <= memory.widest <= budget // smallest


def test_scoring_bounds_its_logits(monkeypatch, model, tokenizer):
    from trl_gift.generation import scoring

    pairs = [([5] * (3 + i), [8, 9, 10 + i]) for i in range(12)]
    whole = scoring.score(model, pairs)
    monkeypatch.setattr(scoring, "_MOST_LOGITS", 3 * len(tokenizer) * 12)
    with Memory(model) as memory:
        assert scoring.score(model, pairs) == [pytest.approx(scores, rel=1e-4) for scores in whole]
    assert memory.widest <= 6


def test_the_longest_way_to_go_comes_first(model, tokenizer):
    params = SamplingParams(4)
    requests = [GenerationRequest(i, (5, 6), params, (i,), priority=i) for i in range(12)]
    engine = CompactEngine(model, tokenizer, batch_size=1)
    for request in requests:
        engine.submit(request)
    order = []
    while engine.pending:
        order += [result.key for result in engine.step()]
    assert order == list(range(12))[::-1]


def test_requests_may_come_while_others_are_in_flight(model, tokenizer, expected):
    engine = CompactEngine(model, tokenizer, batch_size=6)
    waiting, results = requests_for(tokenizer), {}
    while waiting or engine.pending:
        for request in waiting[:2]:
            engine.submit(request)
        waiting = waiting[2:]
        results |= {result.key: result.completions for result in engine.step()}
    assert ids(results) == expected


def test_an_adapter_is_used(model_factory, tokenizer):
    from peft import LoraConfig, get_peft_model

    def adapted():
        torch.manual_seed(0)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        return get_peft_model(model_factory(seed=1), config).eval()

    reference = ids(run(GenerateEngine(adapted(), tokenizer, batch_size=1), requests_for(tokenizer, count=4)))
    assert ids(run(CompactEngine(adapted(), tokenizer, batch_size=8), requests_for(tokenizer, count=4))) == reference
    plain = ids(run(CompactEngine(model_factory(seed=1), tokenizer, batch_size=8), requests_for(tokenizer, count=4)))
    assert plain != reference


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_scores_what_it_draws(model, tokenizer, dtype):
    half = copy.deepcopy(model).to(dtype)
    requests = requests_for(tokenizer, count=6)
    engine = CompactEngine(half, tokenizer, batch_size=8)
    results = run(engine, requests)
    pairs = [(r.prompt_ids, c.token_ids) for r in requests for c in results[r.key]]
    sampled = [sum(c.logprobs) / len(c.logprobs) for r in requests for c in results[r.key]]
    scored = [sum(scores) / len(scores) for scores in engine.score(pairs)]
    assert sampled == pytest.approx(scored, rel=0.1, abs=0.1)


def test_stop_finder_sees_texts_across_tokens(tokenizer):
    texts = TokenTexts(tokenizer)
    for text, stop, found in [("a\nb\n#c", ("\n#",), True), ("a\nb #c", ("\n#", "x"), False), ("ab", ("b",), True)]:
        finder = StopFinder(texts, SamplingParams(9, stop=stop))
        tokens = [token for char in text for token in tokenizer(char)["input_ids"]]
        hits = [finder.add(token) for token in tokens]
        assert any(hits) == found
        if found:
            assert tokenizer.decode(tokens[: hits.index(True) + 1]).endswith(stop[0])


def test_lengths_so_far_count_what_waits_as_nothing(model, tokenizer):
    engine = CompactEngine(model, tokenizer, batch_size=2)
    requests = requests_for(tokenizer)
    for request in requests:
        engine.submit(request)
    unfinished = {request.key: len(request.stream_keys) for request in requests}
    queued = 0
    while engine.pending:
        for result in engine.step():
            del unfinished[result.key]
        ended, going = engine.lengths_so_far()
        assert {key: len(ended[key]) + len(going[key]) for key in going} == unfinished
        assert sum(map(sum, going.values())) == engine.tokens_in_flight
        queued += sum(not any(lengths) for lengths in going.values())
    assert queued, "nothing waited"
