"""The server engine against a real vLLM on a CPU (`make test-vllm`, which makes an environment for it).

`VLLM_PYTHON` names the Python of that environment, and `VLLM_TEST_MODEL` a folder with a model in float32 and its tokenizer;
without it a tiny random model is made. The figures are printed (`pytest -s`).
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.generation import drain, token_ids
from tests.support.processes import descendants
from tests.support.prompts import CHATML
from trl_gift.generation import GenerationRequest, SamplingParams, end_ids, score
from trl_gift.generation.server.client import GenerationUnavailable
from trl_gift.generation.server.engine import Adapter, ServerEngine
from trl_gift.generation.server.hosting import ServerOptions
from trl_gift.generation.server.kinds import RESERVED, Kind, identify
from trl_gift.generation.server.process import ManagedServer
from trl_gift.generation.server.vllm import MOST_STOP_TEXTS, VllmSettings
from trl_gift.generation.stops import StopFinder, TokenTexts
from trl_gift.prompts.wording import CODE_STOPS
from trl_gift.sampling.store import read_samples
from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task

PYTHON = os.environ.get("VLLM_PYTHON", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        not PYTHON, reason="needs the Python of an environment with vLLM in VLLM_PYTHON; see `make test-vllm`"
    ),
]
COMMAND = f"{PYTHON} -m vllm.entrypoints.openai.api_server --model {{model}} {{vllm_options}}"
# A server that does not fit beside what else runs here fails at once; the tests need little.
CACHE = {"VLLM_CPU_KVCACHE_SPACE": "1"}
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Logarithms of the same float32 weights, computed by another program in other batches.
TOLERANCE = 1e-3
WORDS = (
    "the sum of xs",
    "the squares of xs",
    "xs sorted",
    "the largest item",
    "xs reversed",
    "the even numbers",
    "len(xs)",
    "xs",
)
PARAMS = [
    SamplingParams(40),
    SamplingParams(40, temperature=0.6, top_p=0.9),
    SamplingParams(40, temperature=1.3, top_k=20, min_p=0.05),
    SamplingParams(40, temperature=0.8, repetition_penalty=1.2),
    SamplingParams(40, temperature=0.0),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A model with its tokenizer."""
    if given := os.environ.get("VLLM_TEST_MODEL"):
        return given
    import copy

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    chatty = copy.deepcopy(tokenizer)
    chatty.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    chatty.eos_token = "<|im_end|>"
    chatty.chat_template = CHATML
    config = LlamaConfig(
        vocab_size=len(chatty), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, initializer_range=0.3, bos_token_id=None,
        eos_token_id=chatty.eos_token_id, pad_token_id=chatty.pad_token_id,
    )  # fmt: skip
    made = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(made)
    chatty.save_pretrained(made)
    return str(made)


@pytest.fixture(scope="module")
def loaded(folder):
    """The model and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def tuned(folder, tmp_path_factory):
    """The model with an adapter that changes it, and the adapter for the server."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.manual_seed(5)
    model = get_peft_model(base, LoraConfig(r=8, target_modules=LAYERS)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    path = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(path, save_embedding_layers=False)
    return model, Adapter("tuned", str(path))


@pytest.fixture(scope="module")
def server(folder, tuned, tmp_path_factory):
    """One server for all tests, started with the options of a run."""
    settings = VllmSettings.of(tuned[0], on_cpu=True)
    log = tmp_path_factory.mktemp("server") / "server.log"
    started = time.monotonic()
    with ManagedServer(
        COMMAND, log, model=folder, options=settings.options(), environment={**settings.environment(), **CACHE}
    ) as server:
        print(f"\nready after {time.monotonic() - started:.0f} s; {settings}")
        yield server


@pytest.fixture
def engine_of(server, loaded, tuned):
    model, tokenizer = loaded

    def make(kind="base", most_stops=MOST_STOP_TEXTS, owned=False):
        return ServerEngine(
            ServerOptions().client(server.url),
            tokenizer,
            end_ids=end_ids(model, tokenizer),
            adapter=tuned[1] if kind == "adapter" else None,
            most_stops=most_stops,
            server=server if owned else None,
        )

    return make


def requests_for(tokenizer, params, copies=4):
    prompts = [f'def solve_{place}(xs):\n    """Return {words}."""' for place, words in enumerate(WORDS)]
    return [
        GenerationRequest(
            place, tuple(tokenizer(prompt)["input_ids"]), params, tuple(100 * place + i for i in range(copies))
        )
        for place, prompt in enumerate(prompts)
    ]


def run(engine, requests):
    for request in requests:
        engine.submit(request)
    results = {}
    drain(engine, results)
    return results


def pairs_of(requests, results):
    return [(request.prompt_ids, c.token_ids) for request in requests for c in results[request.key] if c.token_ids]


def largest_difference(ours, theirs):
    return max(
        abs(a - b) for first, second in zip(ours, theirs, strict=True) for a, b in zip(first, second, strict=True)
    )


def test_the_server_says_what_it_is(server, loaded):
    served = identify(ServerOptions().client(server.url))
    positions = loaded[0].config.max_position_embeddings
    assert (served.kind, served.context) == (Kind.VLLM, min(positions, 4096))
    assert ServerOptions(url=server.url).positions(loaded[0]) == min(positions, 4096) - RESERVED


@pytest.mark.parametrize("kind", ["base", "adapter"])
@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_logprobs_are_those_of_a_plain_forward_pass(kind, params, engine_of, loaded, tuned):
    requests = requests_for(loaded[1], params)
    engine = engine_of(kind)
    results = run(engine, requests)
    ours = [c.logprobs for request in requests for c in results[request.key] if c.token_ids]
    found = largest_difference(ours, score(tuned[0] if kind == "adapter" else loaded[0], pairs_of(requests, results)))
    print(f"\n{kind}, {params}: largest difference of {sum(map(len, ours))} log-probabilities {found:.1e}")
    assert found < TOLERANCE
    # Else the adapter would make no difference, and the test no sense.
    if kind == "adapter":
        assert largest_difference(ours, score(loaded[0], pairs_of(requests, results))) > 10 * TOLERANCE


@pytest.mark.parametrize("kind", ["base", "adapter"])
def test_many_are_scored_at_once(kind, engine_of, loaded, tuned):
    """Without `--lora-target-modules` this ends the server."""
    requests = requests_for(loaded[1], SamplingParams(40), copies=8)
    pairs = pairs_of(requests, run(engine_of(), requests))
    found = largest_difference(
        engine_of(kind).score(pairs), score(tuned[0] if kind == "adapter" else loaded[0], pairs)
    )
    print(f"\n{kind}: largest difference of {len(pairs)} scored completions {found:.1e}")
    assert found < TOLERANCE


def test_64_at_once_draw_the_same_tokens_twice(engine_of, loaded):
    requests = requests_for(loaded[1], SamplingParams(40), copies=8)
    first, second = (run(engine_of(), requests) for _ in range(2))
    equal = sum(a == b for key in first for a, b in zip(token_ids(first)[key], token_ids(second)[key], strict=True))
    print(f"\n{equal} of 64 equal")
    assert equal == 64


def test_eight_stop_texts(engine_of, loaded):
    """All sent, or four sent and the others found by the client: the same completions, cut at the token of the stop text."""
    tokenizer = loaded[1]
    text = " ".join(
        c.text for cs in run(engine_of(), requests_for(tokenizer, SamplingParams(40))).values() for c in cs
    )
    pairs = sorted({text[i : i + 2] for i in range(len(text) - 1) if text[i : i + 2].isascii()}, key=text.count)
    params = SamplingParams(40, stop=(*CODE_STOPS[:4], *pairs[-4:]))
    requests = requests_for(tokenizer, params)
    sent, found = run(engine_of(), requests), run(engine_of(most_stops=4), requests)
    assert token_ids(sent) == token_ids(found)
    reasons = Counter()
    for key, completions in sent.items():
        for ours, theirs in zip(completions, found[key], strict=True):
            assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
            assert not any(stop in ours.text for stop in params.stop)
            finder = StopFinder(TokenTexts(tokenizer), params)
            ends = [finder.add(token) for token in ours.token_ids]
            assert ends.count(True) == (ours.finish_reason == "stop")
            reasons[ours.finish_reason] += 1
    print(f"\n{dict(reasons)}")
    assert reasons["stop"] > 16


def test_what_the_context_cuts(engine_of, server, loaded):
    context = identify(ServerOptions().client(server.url)).context
    token = loaded[1]("x", add_special_tokens=False)["input_ids"][0]
    lengths = {"room for 8": context - 8, "none": context, "less": context + 50}
    engine = engine_of()
    results = run(
        engine, [GenerationRequest(name, (token,) * n, SamplingParams(20), (1,)) for name, n in lengths.items()]
    )
    found = {name: (len(c.token_ids), c.finish_reason) for name, (c,) in results.items()}
    print(f"\n{found}")
    assert found["none"] == found["less"] == (0, "context")
    assert found["room for 8"] == (8, "context") or found["room for 8"][1] == "eos"


def test_a_killed_server_is_started_again(engine_of, server, loaded, tuned):
    """The samples are those of an undisturbed run, the adapter is loaded again, and a second death says why."""
    requests = requests_for(loaded[1], SamplingParams(40), copies=8)
    wanted = run(engine_of("adapter"), requests)
    engine, results = engine_of("adapter", owned=True), {}
    for request in requests:
        engine.submit(request)
    engine.step()
    kill_everything_below(server)
    started = time.monotonic()
    drain(engine, results)
    print(f"\ncomplete {time.monotonic() - started:.0f} s after the death")
    assert token_ids(results) == token_ids(wanted)
    for request in requests:
        engine.submit(request)
    engine.step()
    kill_everything_below(server)
    with pytest.raises(GenerationUnavailable, match="failed for the second time") as caught:
        drain(engine)
    print(caught.value)
    assert "\n" not in str(caught.value)


def kill_everything_below(server):
    """Kills the server's processes, and not the guard above them."""
    for pid in descendants(server._process.pid):
        if pid != server._process.pid:
            os.kill(pid, signal.SIGKILL)


TASKS = [
    Task(name, description, AssertTests(f"assert {call}", entry_point=name), f"def {name}({parameters}):", reference=reference)
    for name, parameters, description, call, reference in (
        ("add", "a, b", "Return the sum of a and b.", "add(1, 2) == 3", "def add(a, b):\n    return a + b"),
        ("double", "n", "Return twice n.", "double(4) == 8", "def double(n):\n    return 2 * n"),
        ("last", "xs", "Return the last element of a list.", "last([1, 2]) == 2", "def last(xs):\n    return xs[-1]"),
        ("negate", "n", "Return n with the opposite sign.", "negate(3) == -3", "def negate(n):\n    return -n"),
    )
]  # fmt: skip


@pytest.mark.parametrize("kind", ["chat", "base"])
def test_two_rounds_with_a_server_of_its_own(kind, folder, tmp_path, monkeypatch):
    """The run starts the server with its default options; base prompts have eight stop texts."""
    from peft import LoraConfig

    from trl_gift import GiFTConfig, GiFTTrainer

    for name, value in CACHE.items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    trainer = GiFTTrainer(
        model=folder,
        args=GiFTConfig(
            output_dir=str(tmp_path / "out"), generation_engine="server", server_command=COMMAND, prompt_format=kind,
            num_rounds=2, num_steps=2, num_generations=4, num_selected=2, max_completion_length=64,
            max_description_length=48, per_device_train_batch_size=4, num_train_epochs=1, restart_from_base=False, use_cpu=True,
            bf16=False, gradient_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True,
        ),
        train_dataset=TASKS,
        peft_config=LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    log = Path(trainer.run.root, "server", "server.log").read_text()
    assert log.count("Application startup complete") == 2
    assert "--lora-target-modules down_proj gate_proj k_proj" in log
    for number in (1, 2):
        samples = list(read_samples(trainer.run.round(number)))
        assert len(samples) == len(TASKS) * 2 * 4
        finite = [sample.perplexity for sample in samples if sample.perplexity is not None]
        print(
            f"\n{kind}, round {number}: {dict(Counter(sample.status for sample in samples))}, "
            f"{dict(Counter(sample.finish_reason for sample in samples))}, {len(finite)} perplexities"
        )
        assert len({sample.model_hash for sample in samples}) == 1
        assert all(sample.perplexity is not None for sample in samples if sample.eligible)
    print(f"{time.monotonic() - started:.0f} s in all")
