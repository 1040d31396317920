"""A round's weights behind a server: what is exported, what is started, what is left."""

from __future__ import annotations

import copy
import sys
import threading

import pytest
import torch

from tests.support.completion_server import serve
from tests.support.generation import assert_same, requests_for, run
from tests.support.processes import BACKSTOP_S
from tests.support.server_command import COMMAND, ENVIRONMENT
from trl_gift.errors import ConfigError
from trl_gift.generation import GenerateEngine, SamplingParams
from trl_gift.generation.server import hosting
from trl_gift.generation.server.client import GenerationUnavailable
from trl_gift.generation.server.hosting import ServerOptions, parked, serving
from trl_gift.generation.server.vllm import VllmSettings


@pytest.fixture
def tuned(model):
    """A LoRA model whose adapter changes its samples."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(5)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(copy.deepcopy(model), config).eval()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def test_a_given_server_follows_the_adapter(tmp_path, model, tuned, tokenizer):
    requests = requests_for(tokenizer, SamplingParams(8), count=4)
    wanted = run(GenerateEngine(tuned, tokenizer, batch_size=1), requests)
    base = run(GenerateEngine(model, tokenizer, batch_size=1), requests)
    assert wanted != base
    with serve(copy.deepcopy(model), copy.deepcopy(tokenizer)) as (url, backend):
        options = ServerOptions(url=url)
        with serving(options, tuned, tokenizer, weights="00", folder=tmp_path, is_base=True) as engine:
            assert_same(run(engine, requests), base)
        assert not list(tmp_path.iterdir())
        with serving(options, tuned, tokenizer, weights="ab", folder=tmp_path) as engine:
            assert_same(run(engine, requests), wanted)
        assert list(backend.adapters) == ["gift-ab"]
    assert [path.name for path in tmp_path.iterdir()] == ["adapter-ab"]


def test_a_server_of_its_own_gets_the_full_weights(tmp_path, model, tokenizer):
    """With several processes: the others find the main one's server and do not outlive it."""
    options = ServerOptions(command=COMMAND, start_timeout_s=BACKSTOP_S)
    barrier = threading.Barrier(2, timeout=BACKSTOP_S)
    seen = {}

    def process(is_main):
        with serving(
            options,
            model,
            tokenizer,
            weights="cd",
            folder=tmp_path / "server",
            is_main=is_main,
            wait_for_everyone=barrier.wait,
        ) as engine:
            results = run(engine, requests_for(tokenizer, count=2))
            files = {path.name for path in (tmp_path / "server").iterdir()}
            seen[is_main] = (engine._client.url, len(results), files)

    other = threading.Thread(target=process, args=(False,))
    other.start()
    process(True)
    other.join()
    assert seen[True] == seen[False]
    assert {"weights-cd", "server.log", "server-url"} <= seen[True][2]
    assert not (tmp_path / "server" / "weights-cd").exists(), "as large as the model, and of no further use"


def test_a_server_of_its_own_is_started_with_what_a_real_vllm_needs(tmp_path, tuned, tokenizer):
    """The stub dies of concurrent scoring and refuses five stop texts, as vLLM does, unless its options avoid that."""
    tuned.peft_config["default"].base_model_name_or_path = "base"
    options = ServerOptions(command=f"{COMMAND} {{vllm_options}}", start_timeout_s=BACKSTOP_S)
    requests = requests_for(tokenizer, SamplingParams(8, stop=tuple(f"~~~{i}" for i in range(8))), count=4)
    pairs = [(request.prompt_ids, (5, 6)) for request in requests]
    with serving(options, tuned, tokenizer, weights="ab", folder=tmp_path / "server") as engine:
        assert len(run(engine, requests)) == 4
        assert engine.score(pairs) == [(-1.0, -1.0)] * 4
    started = (tmp_path / "server" / "server.log").read_text().splitlines()[0]
    assert "--dtype float32 --enable-lora --max-lora-rank 8 --lora-target-modules q_proj v_proj" in started
    plain = ServerOptions(command=f"{COMMAND} --enable-lora", start_timeout_s=BACKSTOP_S, patience_s=0.5)
    with (
        pytest.raises(GenerationUnavailable, match="second time"),
        serving(plain, tuned, tokenizer, weights="ab", folder=tmp_path / "plain") as engine,
    ):
        engine.score(pairs)


def test_a_server_that_does_not_start_leaves_the_model_and_no_weights(tmp_path, model, tokenizer):
    options = ServerOptions(command=f"{sys.executable} -c 'raise SystemExit(4)'")
    with (
        pytest.raises(GenerationUnavailable, match="exit code 4"),
        serving(options, model, tokenizer, weights="cd", folder=tmp_path),
    ):
        pass
    assert not (tmp_path / "weights-cd").exists()


def test_what_cannot_work_is_told_early(model, tuned):
    from peft import LNTuningConfig, get_peft_model

    with pytest.raises(ConfigError, match="exclude each other"):
        ServerOptions(url="http://127.0.0.1:1", command="serve")
    given = ServerOptions(url="http://127.0.0.1:1")
    given.check(tuned)
    ServerOptions().check(model)
    with pytest.raises(ConfigError, match="cannot follow full fine-tuning"):
        given.check(model)
    other = get_peft_model(copy.deepcopy(model), LNTuningConfig(target_modules=["input_layernorm"]))
    with pytest.raises(ConfigError, match="LNTuningConfig"):
        given.check(other)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"target_modules": ["q_proj", "lm_head"]}, r"the output layer \(lm_head\)"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"target_modules": ["q_proj"], "use_dora": True}, "use_dora=True"),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [1]}, r"trainable_token_indices=\[1\]"),
    ],
    ids=["output layer", "saved module", "DoRA", "tokens"],
)
def test_parts_of_an_adapter_that_vllm_does_not_serve_are_refused(config, words, model):
    from peft import LoraConfig, get_peft_model

    with pytest.raises(ConfigError, match=words):
        ServerOptions().check(get_peft_model(copy.deepcopy(model), LoraConfig(r=4, **config)))


def test_what_vllm_is_started_with(model, tuned):
    """On a CPU what it would die of is off; on a GPU its own choices stay."""
    here = VllmSettings.of(tuned, on_cpu=True)
    words = " ".join(here.options())
    assert "--max-model-len 1024 --no-enable-chunked-prefill --max-num-batched-tokens 4096" in words
    assert "gpu-memory" not in words
    assert here.environment()["VLLM_CPU_KVCACHE_SPACE"] == "4"
    there = VllmSettings.of(model, on_cpu=False)
    assert there.options()[-4:] == ["--dtype", "auto", "--gpu-memory-utilization", "{gpu_memory_utilization}"]
    assert there.environment() == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_MAX_STOP_STRINGS": "64"}


def test_the_users_size_of_the_cache_stays(model, monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    assert VllmSettings.of(model, on_cpu=True).environment()["VLLM_CPU_KVCACHE_SPACE"] == "1"


def test_the_positions_are_the_fewer_of_model_and_server(model, tuned, caplog):
    assert ServerOptions(command="serve").positions(model) == 1024
    named = "vllm serve {model} {vllm_options} --max-model-len 1024 --max-model-len=300"
    assert ServerOptions(command=named).positions(model) == 298
    with serve(context=100) as (url, _):
        assert ServerOptions(url=url).positions(tuned) == 98
    with serve(context=10_000) as (url, _):
        assert ServerOptions(url=url).positions(tuned) == 1024
    with serve(form="llama.cpp", context=100) as (url, _):
        assert ServerOptions(url=url).positions(model) == 98
        assert "loads no adapters" in caplog.text
        with pytest.raises(ConfigError, match=r"is llama\.cpp's server, which loads no adapters"):
            ServerOptions(url=url).positions(tuned)


def test_a_model_on_the_cpu_stays_there(model):
    with parked(model):
        assert model.device.type == "cpu"


@pytest.mark.gpu
def test_a_parked_model_frees_its_device(model_factory):
    model = model_factory().to("cuda")
    before = torch.cuda.memory_allocated()
    with parked(model):
        assert model.device.type == "cpu"
        assert torch.cuda.memory_allocated() < before
    assert model.device.type == "cuda"


def test_a_server_that_is_not_there_is_told_at_once(model, caplog, monkeypatch):
    """Before a run begins there is nothing to wait for; a wait is a line, and not one for each try."""
    url = "http://127.0.0.1:9"
    monkeypatch.setattr(hosting, "FIRST_ANSWER_S", 0.4)
    monkeypatch.setattr("trl_gift.generation.server.client._SILENCE_S", 0.0)
    monkeypatch.setattr("trl_gift.generation.server.client._FIRST_PAUSE_S", 0.1)
    with pytest.raises(
        ConfigError, match=r"vllm_server_base_url='http://127\.0\.0\.1:9': .* refused.*; start the server first"
    ):
        ServerOptions(url=url).positions(model)
    (line,) = caplog.messages
    assert f"{url} does not answer (ConnectionRefusedError" in line
    assert "trying again for at most 0 s" in line
