"""The client of completion servers, against a real HTTP server over a tiny model."""

from __future__ import annotations

import copy
import threading
import time

import numpy as np
import pytest

from tests.support.completion_server import serve
from tests.support.generation import assert_same, drain, requests_for, run, token_ids
from tests.support.processes import BACKSTOP_S, wait_until
from trl_gift.errors import ConfigError
from trl_gift.generation import GenerateEngine, GenerationRequest, SamplingParams
from trl_gift.generation.server.client import CompletionClient, GenerationUnavailable
from trl_gift.generation.server.engine import Adapter, ServerEngine


@pytest.fixture
def start(model, tokenizer):
    """Starts a server with switches; returns an engine for it, and the server's backend."""
    servers = []

    def start(given=None, *, patience_s=2.0, timeout_s=BACKSTOP_S, engine=None, **switches):
        # Copies: neither models nor tokenizers may be used by two threads at once.
        server = serve(copy.deepcopy(given or model), copy.deepcopy(tokenizer), **switches)
        url, backend = server.__enter__()
        servers.append(server)
        client = CompletionClient(url, patience_s=patience_s, timeout_s=timeout_s)
        return ServerEngine(client, tokenizer, **(engine or {})), backend

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture(scope="module")
def reference(model, tokenizer):
    return run(GenerateEngine(model, tokenizer, batch_size=1), requests_for(tokenizer))


def test_requests_are_sent_at_once_and_say_everything(start, tokenizer, reference):
    engine, backend = start(engine={"batch_size": 8})
    assert_same(run(engine, requests_for(tokenizer)), reference)
    assert 1 < backend.most_at_once <= 8
    assert engine.tokens_generated == sum(len(c.token_ids) for cs in reference.values() for c in cs)
    body = backend.requests[0]
    # What is left out here, a server would fill in from the model's generation config.
    assert body["repetition_penalty"] == 1.0
    assert body["top_k"] == -1
    assert body["stop_token_ids"] == [tokenizer.eos_token_id]
    assert body["n"] == 1
    seeds = [request["seed"] for request in backend.requests]
    assert sorted(seeds) == sorted(key for r in requests_for(tokenizer) for key in r.stream_keys)


def test_keys_of_64_bits_become_seeds_of_63(start, tokenizer):
    engine, backend = start()
    (request,) = requests_for(tokenizer, SamplingParams(2), count=1, copies=1)
    run(engine, [GenerationRequest(0, request.prompt_ids, request.params, (2**64 - 1,))])
    assert backend.requests[0]["seed"] == 2**63 - 1


def test_threads_are_gone_after_the_last_result(start, tokenizer):
    engine, _ = start()
    run(engine, requests_for(tokenizer, count=3))
    assert wait_until(lambda: not any(t.name == "completion-request" for t in threading.enumerate()))


def test_a_step_does_not_wait_for_a_slow_server(start, tokenizer):
    engine, _ = start(hang_after=0, timeout_s=2 * BACKSTOP_S)
    engine.submit(requests_for(tokenizer, count=1)[0])
    engine.step()
    started = time.monotonic()
    assert engine.step() == []
    assert time.monotonic() - started < BACKSTOP_S
    engine.close()


def test_higher_priorities_go_first(start, tokenizer):
    engine, backend = start(engine={"batch_size": 1})
    (request,) = requests_for(tokenizer, SamplingParams(2), count=1, copies=1)
    priorities = [0, 3, 1, 2]
    run(
        engine,
        [GenerationRequest(p, request.prompt_ids, request.params, (p,), priority=p) for p in priorities],
    )
    # The first may be under way before the others are queued.
    rest = [body["seed"] for body in backend.requests if body["seed"] != backend.requests[0]["seed"]]
    assert rest == sorted(rest, reverse=True)


@pytest.mark.parametrize("trouble", [{"fail_first": 5}, {"abort_first": 5}, {"chaos": True}], ids=str)
def test_passing_trouble_changes_nothing(trouble, start, tokenizer, reference):
    engine, _ = start(patience_s=BACKSTOP_S, **trouble)
    assert_same(run(engine, requests_for(tokenizer)), reference)


def test_a_server_that_is_gone_loses_nothing(model, tokenizer, reference):
    """It goes in the middle and comes back at the same address: what had come in is not asked for again."""
    requests = requests_for(tokenizer)
    engine, results = None, {}
    with serve(copy.deepcopy(model), copy.deepcopy(tokenizer)) as (url, backend):
        engine = ServerEngine(CompletionClient(url, patience_s=0.5), tokenizer, batch_size=2)
        for request in requests:
            engine.submit(request)
        while len(results) < 3:
            results.update({r.key: r.completions for r in engine.step()})
        # From here on it is as good as gone.
        backend.switches.fail_first = 10**9
        with pytest.raises(GenerationUnavailable, match="does not answer"):
            drain(engine, results)
        assert engine.pending == len(requests) - len(results)
        backend.switches.fail_first = 0
        before = len(backend.requests)
        drain(engine, results)
        done_before = {key for r in requests[:3] for key in r.stream_keys}
        assert not done_before & {c["seed"] for c in backend.requests[before:]}
    assert_same(results, reference)


def test_no_server_at_all(tokenizer):
    engine = ServerEngine(CompletionClient("http://127.0.0.1:9", patience_s=0.3), tokenizer)
    engine.submit(requests_for(tokenizer, count=1)[0])
    with pytest.raises(GenerationUnavailable, match=r"127\.0\.0\.1:9"):
        engine.step()
    assert engine.pending == 1
    with pytest.raises(GenerationUnavailable):
        engine.score([((1, 2), (3,))])


def test_a_hanging_server_counts_as_gone(start, tokenizer):
    engine, _ = start(hang_after=0, timeout_s=0.3, patience_s=0.2)
    engine.submit(requests_for(tokenizer, count=1)[0])
    with pytest.raises(GenerationUnavailable, match="timed out"):
        drain(engine)


def test_an_empty_answer_is_an_answer(start, model_factory, tokenizer):
    engine, _ = start(model_factory(end_bias=100.0))
    results = run(engine, requests_for(tokenizer, count=2))
    assert all(
        c.text == "" and c.finish_reason == "eos" and len(c.token_ids) == 1 for cs in results.values() for c in cs
    )


def test_a_refused_request_is_for_the_user_to_fix(start, tokenizer):
    engine, _ = start(refuse="This model's maximum context length is 16 tokens")
    engine.submit(requests_for(tokenizer, count=1)[0])
    with pytest.raises(ConfigError, match="maximum context length"):
        drain(engine)


def test_keys_and_addresses(start, tokenizer):
    engine, _ = start(api_key="secret")
    engine.submit(requests_for(tokenizer, count=1)[0])
    with pytest.raises(ConfigError, match="VLLM_API_KEY"):
        drain(engine)
    url = engine._client.url
    right = ServerEngine(CompletionClient(url + "/v1/", api_key="secret"), tokenizer)
    assert run(right, requests_for(tokenizer, count=1))
    with pytest.raises(ConfigError, match="vllm_server_base_url='localhost'"):
        CompletionClient("localhost")


def test_stop_texts(start, model_factory, tokenizer):
    model = model_factory(seed=3)
    plain = run(GenerateEngine(model, tokenizer), requests_for(tokenizer))
    text = max((c.text for cs in plain.values() for c in cs), key=len)
    stop = next(
        text[i : i + 2] for i in range(6, len(text)) if len(text[i : i + 2]) == 2 and text[i : i + 2].isascii()
    )
    requests = requests_for(tokenizer, SamplingParams(24, stop=(stop,)))
    engine, _ = start(model)
    results = run(engine, requests)
    assert_same(results, run(GenerateEngine(model, tokenizer), requests))
    assert "stop" in {c.finish_reason for cs in results.values() for c in cs}


@pytest.mark.parametrize("scoring", ["prompt_logprobs", "echo"])
@pytest.mark.parametrize("processed", [False, True])
def test_logprobs_are_the_model_s_own_whatever_the_server_says(processed, scoring, start, model, tokenizer):
    requests = requests_for(tokenizer, SamplingParams(12, temperature=0.5, top_p=0.9), count=4, copies=2)
    engine, backend = start(processed_logprobs=processed, scoring=scoring)
    assert_same(run(engine, requests), run(GenerateEngine(model, tokenizer, batch_size=1), requests))
    scored = sum("echo" in body or "prompt_logprobs" in body for body in backend.requests)
    assert bool(scored) == processed, "a server that gives raw log-probabilities is taken at its word"


@pytest.mark.parametrize("scoring", ["prompt_logprobs", "echo"])
def test_scoring(scoring, start, model, tokenizer):
    engine, _ = start(scoring=scoring)
    pairs = [(r.prompt_ids, r.prompt_ids[: 1 + i]) for i, r in enumerate(requests_for(tokenizer, count=5))]
    wanted = GenerateEngine(model, tokenizer).score(pairs)
    for ours, theirs in zip(engine.score(pairs), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert engine.score([]) == []


def test_a_server_that_cannot_score_says_so(start, tokenizer):
    engine, _ = start(scoring="")
    with pytest.raises(ConfigError, match="neither by 'prompt_logprobs'"):
        engine.score([((1, 2), (3,))])


def test_without_token_ids_texts_are_tokenised_again_and_scored(start, model, tokenizer, reference):
    engine, _ = start(token_ids=False)
    results = run(engine, requests_for(tokenizer))
    scorer = GenerateEngine(model, tokenizer)
    for request in requests_for(tokenizer):
        for ours, theirs in zip(results[request.key], reference[request.key], strict=True):
            assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
            ended = ours.finish_reason == "eos"
            assert (ours.token_ids[-1] == tokenizer.eos_token_id) == ended
            if ours.token_ids:
                (wanted,) = scorer.score([(request.prompt_ids, ours.token_ids)])
                np.testing.assert_allclose(ours.logprobs, wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture
def adapter(tmp_path, model, tokenizer):
    """A LoRA adapter that changes the model, and its samples by the reference engine."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = get_peft_model(copy.deepcopy(model), config)
    tuned.save_pretrained(tmp_path / "adapter")
    return Adapter("round-1-abc", str(tmp_path / "adapter")), run(
        GenerateEngine(tuned.eval(), tokenizer, batch_size=1), requests_for(tokenizer)
    )


def test_the_adapter_is_loaded_once_and_sampled_from(start, adapter, tokenizer, reference):
    ours, wanted = adapter
    engine, backend = start(engine={"adapter": ours})
    assert_same(run(engine, requests_for(tokenizer)), wanted)
    assert token_ids(wanted) != token_ids(reference)
    # Another engine for the same weights finds it there.
    again = ServerEngine(CompletionClient(engine._client.url), tokenizer, adapter=ours)
    assert_same(run(again, requests_for(tokenizer)), wanted)
    # A server that was started again has lost it.
    backend.adapters.clear()
    assert_same(run(again, requests_for(tokenizer)), wanted)
    # And the base model stays what it was.
    base = ServerEngine(CompletionClient(engine._client.url), tokenizer)
    assert_same(run(base, requests_for(tokenizer)), reference)


class Restarted:
    """A server that forgets its adapters and works again when it is started again."""

    def __init__(self, backend):
        self.backend = backend
        self.starts = 1

    def is_alive(self):
        return self.backend.switches.fail_first == 0

    def restart(self, reason):
        assert "503" in reason
        self.starts += 1
        self.backend.adapters.clear()
        self.backend.switches.fail_first = 0


def test_after_a_restart_the_adapter_is_loaded_again(start, adapter, tokenizer):
    ours, wanted = adapter
    engine, backend = start(engine={"adapter": ours, "batch_size": 4})
    engine._server = server = Restarted(backend)
    results = {}
    for request in requests_for(tokenizer):
        engine.submit(request)
    while len(results) < 4:
        results.update({r.key: r.completions for r in engine.step()})
    backend.switches.fail_first = 10**9
    # Scoring comes in between and has to survive it, too.
    assert len(engine.score([((1, 2), (3,)), ((4,), (5, 6))])) == 2
    drain(engine, results)
    assert server.starts == 2
    assert_same(results, wanted)


def test_a_server_without_adapters_is_refused(start, adapter, tokenizer):
    engine, _ = start(engine={"adapter": adapter[0]}, adapters=False)
    engine.submit(requests_for(tokenizer, count=1)[0])
    with pytest.raises(ConfigError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        engine.step()


def test_an_unknown_model_is_refused(start, tokenizer):
    engine, _ = start(engine={"model": "another"})
    engine.submit(requests_for(tokenizer, count=1)[0])
    with pytest.raises(ConfigError, match="does not serve 'another'"):
        drain(engine)


# The faults of real servers ---------------------------------------------------------------------------------------------


def stops_in(results):
    """Eight stop texts that occur in these completions, the rarest of them beyond the fourth."""
    text = " ".join(c.text for cs in results.values() for c in cs)
    pairs = sorted({text[i : i + 2] for i in range(len(text) - 1) if text[i : i + 2].isascii()}, key=text.count)
    return ("~~~0", "~~~1", "~~~2", "~~~3", *pairs[-4:])


def test_stop_texts_that_the_server_does_not_take_are_found_here(start, model_factory, tokenizer):
    """Tokens, log-probabilities and text are those of an engine that stops there."""
    model = model_factory(seed=3)
    stop = stops_in(run(GenerateEngine(model, tokenizer), requests_for(tokenizer)))
    requests = requests_for(tokenizer, SamplingParams(24, stop=stop))
    engine, backend = start(model, most_stops=4)
    results = run(engine, requests)
    assert_same(results, run(GenerateEngine(model, tokenizer, batch_size=1), requests))
    assert sum(c.finish_reason == "stop" for cs in results.values() for c in cs) > 5
    assert {len(body["stop"]) for body in backend.requests} == {4}


def test_without_token_ids_the_text_is_cut_before_it_is_tokenised(start, model_factory, tokenizer):
    model = model_factory(seed=3)
    stop = stops_in(run(GenerateEngine(model, tokenizer), requests_for(tokenizer)))
    requests = requests_for(tokenizer, SamplingParams(24, stop=stop))
    engine, _ = start(model, most_stops=4, token_ids=False)
    for key, completions in run(engine, requests).items():
        for ours, theirs in zip(completions, run(GenerateEngine(model, tokenizer), requests)[key], strict=True):
            assert ours.text == theirs.text
            # Such a server does not tell an end token from a stop text.
            assert (ours.finish_reason, theirs.finish_reason) in [
                ("stop", "stop"),
                ("stop", "eos"),
                ("length", "length"),
            ]
            if ours.finish_reason == "stop" and "�" not in ours.text:
                assert tokenizer.decode(ours.token_ids) == ours.text


def test_a_server_of_ours_gets_all_stop_texts(start, tokenizer):
    engine, backend = start(engine={"most_stops": 64})
    run(engine, requests_for(tokenizer, SamplingParams(4, stop=tuple(f"~~~{i}" for i in range(8))), count=1))
    assert {len(body["stop"]) for body in backend.requests} == {8}
    with pytest.raises(ConfigError, match="at most 4 items after validation, not 8"):
        run(
            start(engine={"most_stops": 64}, most_stops=4)[0],
            requests_for(tokenizer, SamplingParams(4, stop=tuple(f"~~~{i}" for i in range(8))), count=1),
        )


def test_what_the_context_cuts_says_so(start, model_factory, tokenizer, caplog):
    """A prompt without room is not sent, a completion that the context cuts has its own reason, others are as ever."""
    model = model_factory()
    short, long, longest = (
        GenerationRequest(name, (5,) * length, SamplingParams(20), (1, 2))
        for name, length in (("short", 10), ("long", 40), ("longest", 48))
    )
    engine, backend = start(model, context=48)
    results = run(engine, [short, long, longest])
    assert_same({"short": results["short"]}, run(GenerateEngine(model, tokenizer), [short]))
    assert [(len(c.token_ids), c.finish_reason) for c in results["long"]] == [(8, "context")] * 2
    assert [(c.token_ids, c.finish_reason) for c in results["longest"]] == [((), "context")] * 2
    assert {body["max_tokens"] for body in backend.requests} == {20, 8}
    # Scoring draws a token, for which there is no room.
    assert all(np.isnan(engine.score([((5,) * 40, (6,) * 8)])[0]))
    assert np.isfinite(engine.score([((5,) * 40, (6,) * 7)])[0]).all()
    engine.close()
    assert "4 completions were cut by the context" in caplog.text


def test_a_server_that_keeps_its_context_to_itself(start, model_factory, tokenizer, monkeypatch):
    from tests.support import completion_server

    monkeypatch.setattr(completion_server.Handler, "card", lambda self, name: {"id": name})
    engine, _ = start(model_factory(), context=48)
    results = run(engine, [GenerationRequest(0, (5,) * 40, SamplingParams(20), (1,))])
    assert [(len(c.token_ids), c.finish_reason) for c in results[0]] == [(8, "context")]


def test_two_scoring_requests_at_once_end_a_server_with_adapters(start, tokenizer):
    engine, _ = start(dies_of_scoring=True)
    with pytest.raises(GenerationUnavailable, match="HTTP 500"):
        engine.score([((1, 2), (3,)), ((4,), (5, 6))])


def test_llama_cpp(start, model_factory, tokenizer):
    model = model_factory(end_bias=3.0)
    stop = stops_in(run(GenerateEngine(model, tokenizer), requests_for(tokenizer)))
    requests = requests_for(tokenizer, SamplingParams(24, temperature=0.5, stop=stop[-4:]))
    engine, _ = start(model, form="llama.cpp", context=512, scoring="")
    results, wanted = run(engine, requests), run(GenerateEngine(model, tokenizer, batch_size=1), requests)
    reasons = set()
    for key, completions in wanted.items():
        for ours, theirs in zip(results[key], completions, strict=True):
            reasons.add(theirs.finish_reason)
            assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
            if ours.finish_reason != "stop":
                assert ours.token_ids == theirs.token_ids
                np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=1e-4, atol=1e-5)
    assert reasons == {"eos", "stop", "length"}


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("transformers", "is `transformers serve`, which takes no prompts"),
        ("llama-cpp-python", "is llama-cpp-python's"),
    ],
)
def test_servers_that_lack_too_much_are_refused_by_name(form, words, start, tokenizer):
    engine, _ = start(form=form)
    engine.submit(requests_for(tokenizer, count=1)[0])
    with pytest.raises(ConfigError, match=words):
        engine.step()
