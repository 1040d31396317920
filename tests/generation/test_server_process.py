"""The life of a server of one's own: real processes, which all have to be gone at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.support.completion_server import serve
from tests.support.generation import requests_for, run
from tests.support.processes import BACKSTOP_S, alive, wait_until
from tests.support.server_command import COMMAND, ENVIRONMENT, ROOT
from trl_gift.errors import ConfigError
from trl_gift.generation import GenerateEngine, SamplingParams
from trl_gift.generation.server import process
from trl_gift.generation.server.client import CompletionClient, GenerationUnavailable
from trl_gift.generation.server.engine import Adapter, ServerEngine
from trl_gift.generation.server.process import ManagedServer


def managed(tmp_path, options="", **given):
    given = {"environment": ENVIRONMENT, "start_timeout_s": BACKSTOP_S, "grace_s": 0.5, **given}
    return ManagedServer(f"{COMMAND} {options}", tmp_path / "server.log", **given)


def is_written(path):
    return path.exists() and path.read_text()


def wait_until_gone(pids):
    assert wait_until(lambda: not any(map(alive, pids)))


def read_when_written(path):
    assert wait_until(lambda: is_written(path)), f"{path} was not written"
    return json.loads(path.read_text())


def test_it_is_waited_for_used_and_ended_with_its_whole_tree(tmp_path, tokenizer):
    """Two stubborn descendants, one in a session of its own."""
    children = tmp_path / "children"
    with managed(tmp_path, f"--ready-after 0.5 --children {children}") as server:
        engine = ServerEngine(CompletionClient(server.url), tokenizer, server=server)
        results = run(engine, requests_for(tokenizer, count=3))
        assert all(c.token_ids == (5,) for cs in results.values() for c in cs)
        pids = json.loads(children.read_text())
        assert len(pids) == 3
        assert all(map(alive, pids))
        assert server.is_alive()
    assert not any(map(alive, pids)), "all of them are gone when the block is left"
    assert not server.is_alive()
    assert "starting" in (tmp_path / "server.log").read_text()


# A shell that runs the tests in the background has them, and what they start, ignore interrupts.
TRAINER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from trl_gift.generation.server.process import ManagedServer
command, log = sys.argv[1:]
with ManagedServer(command, Path(log), grace_s=0.5) as server:
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_it_ends_with_its_trainer(number, tmp_path):
    children = tmp_path / "children"
    command = f"{COMMAND} --children {children}"
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, command, str(tmp_path / "log")],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert trainer.stdout.readline() == b"ready\n"
    pids = read_when_written(children)
    trainer.send_signal(number)
    trainer.wait(timeout=BACKSTOP_S)
    trainer.stdout.close()
    wait_until_gone(pids)


def test_a_killed_guard_takes_the_server_with_it(tmp_path):
    children = tmp_path / "children"
    with managed(tmp_path, f"--children {children}") as server:
        pids = read_when_written(children)
        server._process.kill()
        server._process.wait()
        wait_until_gone(pids[:1])
        # The guard is gone: the test ends what is left.
        for pid in pids[1:]:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_it_dies_once_and_what_is_missing_is_asked_for_again(tmp_path, model_factory, tokenizer):
    """A real model, with an adapter that has to be loaded again; the samples are those of an undisturbed run."""
    import copy

    import torch
    from peft import LoraConfig, get_peft_model

    model = model_factory()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    torch.manual_seed(5)
    tuned = get_peft_model(
        copy.deepcopy(model), LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    tuned.save_pretrained(tmp_path / "adapter")
    requests = requests_for(tokenizer, SamplingParams(8), count=5, copies=2)
    reference = run(GenerateEngine(tuned.eval(), tokenizer, batch_size=1), requests)
    options = f"--model {{model}} --die-after 4 --die-marker {tmp_path / 'marker'}"
    with managed(tmp_path, options, model=str(tmp_path / "model")) as server:
        engine = ServerEngine(
            CompletionClient(server.url, patience_s=10.0),
            tokenizer,
            batch_size=2,
            adapter=Adapter("round-1-abc", str(tmp_path / "adapter")),
            server=server,
        )
        results = run(engine, requests)
    assert (tmp_path / "marker").exists()
    assert (tmp_path / "server.log").read_text().count("starting") == 2
    assert {k: [c.token_ids for c in v] for k, v in results.items()} == {
        k: [c.token_ids for c in v] for k, v in reference.items()
    }


def test_a_hanging_server_is_started_again(tmp_path, tokenizer):
    marker = tmp_path / "marker"
    with managed(tmp_path, f"--hang-after 3 --die-marker {marker}") as server:
        client = CompletionClient(server.url, timeout_s=4.0, patience_s=0.5)
        engine = ServerEngine(client, tokenizer, batch_size=2, server=server)
        assert len(run(engine, requests_for(tokenizer, count=5))) == 5
    assert marker.exists()


def test_the_second_death_raises_and_keeps_what_is_missing(tmp_path, tokenizer):
    with managed(tmp_path, "--die-after 3") as server:
        engine = ServerEngine(CompletionClient(server.url), tokenizer, batch_size=1, server=server)
        requests = requests_for(tokenizer, count=5, copies=2)
        for request in requests:
            engine.submit(request)
        results = []
        with pytest.raises(
            GenerationUnavailable, match=r"second time: .* exit code 9\. Its log says: starting \(all of it: "
        ):
            collect(engine, results)
        # Three completions in each of two lives.
        assert len(results) == 3
        assert engine.pending == 2


def collect(engine, results):
    while engine.pending:
        results += engine.step()


def test_a_command_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="'vllm-is-not-installed', which does not run here"):
        ManagedServer("vllm-is-not-installed serve {model}", tmp_path / "log", model="m").__enter__()


def test_a_server_that_ends_at_once_shows_its_log(tmp_path):
    command = [sys.executable, "-c", "import sys; print('ValueError: no memory'); print('bye'); sys.exit(3)"]
    log = tmp_path / "log"
    log.write_text("OSError: of an earlier start\n")
    with pytest.raises(GenerationUnavailable) as caught:
        ManagedServer(command, log).__enter__()
    assert str(caught.value).endswith(
        f"exit code 3 before it was ready. Its log says: ValueError: no memory (all of it: {log})."
    )


def test_a_server_that_is_never_ready_is_ended(tmp_path, monkeypatch):
    """The time is over as soon as the server runs with its children."""
    children = tmp_path / "children"
    clock = SimpleNamespace(
        monotonic=lambda: time.monotonic() + 2 * BACKSTOP_S * bool(is_written(children)), sleep=time.sleep
    )
    monkeypatch.setattr(process, "time", clock)
    server = managed(tmp_path, f"--ready-after 600 --children {children}")
    with pytest.raises(GenerationUnavailable, match="not ready after 300 s"):
        server.__enter__()
    wait_until_gone(read_when_written(children))


def test_a_foreign_server_on_the_same_port_is_not_taken_for_ours(tmp_path):
    with serve() as (url, _), pytest.raises(ConfigError, match="in use"):
        managed(tmp_path, port=int(url.rpartition(":")[2])).__enter__()


def test_placeholders_and_braces(tmp_path):
    command = "serve {model} --rank {rank} {vllm_options} --json '{\"a\": 1}'"
    server = ManagedServer(
        command,
        tmp_path / "log",
        model="m x",
        rank=20,
        gpu_memory_utilization=0.3,
        options=["--memory", "{gpu_memory_utilization}"],
    )
    assert server._command == ["serve", "m x", "--rank", "32", "--memory", "0.3", "--json", '{"a": 1}']
    with pytest.raises(ConfigError, match="server_command is empty"):
        ManagedServer("", tmp_path / "log")
