"""`trl-gift evaluate` measures the model that it is given and names it; it keeps and compares evaluations."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pyarrow.parquet
import pytest

import trl_gift
from tests.support.completion_server import serve
from tests.support.trained import HELD_OUT, make_adapter, make_run, playground
from trl_gift import GiFTConfig
from trl_gift.cli.main import main
from trl_gift.errors import ResumeError
from trl_gift.evaluation import Evaluation
from trl_gift.inference.saved import read_evaluation
from trl_gift.inference.sources import find_source, measuring_device
from trl_gift.playground import model_path, playground_tasks
from trl_gift.run.folder import RunFolder
from trl_gift.sandbox import LocalSandbox

CPU = ["--use_cpu", "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true", "--sandbox_workers", "1"]
TASKS = ["--eval_dataset_name", "playground", "--eval_limit", str(HELD_OUT)]
SHORT = ["--max_completion_length", "64"]
CONVENTION = "prompts for base models, no tests shown, imports of the reference not shown"


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as pool:
        yield pool


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished LoRA run."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    make_run(folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def evaluate(capfd):
    """The command: its JSON object and its lines on standard error."""

    def call(*arguments, options=(*CPU, *TASKS, *SHORT)):
        code = main(["evaluate", *map(str, arguments), *options, "--json"])
        captured = capfd.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out), captured.err

    return call


@pytest.fixture
def refused(capfd):
    """The one line of a call that is refused."""

    def call(*arguments, options=(*CPU, *TASKS, *SHORT)):
        code = main(["evaluate", *map(str, arguments), *options])
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("trl-gift: ")]
        assert (code, len(lines)) == (2, 1)
        return lines[0]

    return call


def config(**changes):
    options = {"use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True, "max_completion_length": 64}
    return GiFTConfig("unused", **options | changes)


def measured(model, sandbox, tokenizer=None, **changes):
    """The evaluation of a model in memory."""
    return trl_gift.evaluate(model, playground_tasks("test", HELD_OUT), config(**changes), tokenizer, sandbox)


def figures(record):
    return {name: value for name, value in record.items() if name.startswith("eval_")}


def as_figures(evaluation: Evaluation):
    return {f"eval_{name}": value for name, value in evaluation.metrics().items()}


def test_a_model(evaluate, sandbox, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record, said = evaluate("playground")
    assert figures(record) == as_figures(measured(str(model_path()), sandbox))
    assert record["measured"] == {
        "model": str(model_path()), "adapter": None, "run": None, "round": None, "revision": None,
        "adapter_revision": None, "quantization": None, "dtype": "float32", "engine": "compact", "server": None,
        "device": "cpu",
    }  # fmt: skip
    assert sum(record["outcomes"].values()) == HELD_OUT
    assert record["tokens"] > HELD_OUT
    assert f"measuring {model_path()}, not quantised, float32, on cpu, engine compact" in said
    assert record["saved"] is None
    assert not list(tmp_path.iterdir()), "an evaluation of a model leaves nothing"


def test_the_text(capsys):
    options = [*CPU, *TASKS, *SHORT, "--eval_num_generations", "2", "--eval_k", "1", "2"]
    assert main(["evaluate", "playground", *options]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    starts = [line[0] for line in lines if line]
    assert starts == [
        "measured", "asked", "playground:", "pass@1", "sampled_pass@1", "sampled_pass@2", "outcomes", "cost"
    ]  # fmt: skip
    assert lines[4][1].endswith("%")
    assert lines[4][-1] == "greedy"
    assert " ".join(lines[5][-6:]) == "2 samples a task, temperature 1"


def test_an_adapter_on_its_base(evaluate, sandbox, tmp_path):
    adapted, (base, tokenizer) = make_adapter(tmp_path / "adapter"), playground()
    wanted = measured(adapted, sandbox, tokenizer)
    assert wanted != measured(base, sandbox, tokenizer), "the adapter changes what is written"
    record, said = evaluate(tmp_path / "adapter", "--save", tmp_path / "kept")
    assert read_evaluation(tmp_path / "kept") == {"playground": wanted}
    assert record["measured"]["adapter"] == str(tmp_path / "adapter")
    assert record["measured"]["model"] == str(model_path())
    assert f"adapter {tmp_path / 'adapter'} on {model_path()}" in said


def test_an_adapter_on_the_hub(evaluate, sandbox, tmp_path, monkeypatch):
    """As the libraries find it in their cache, without a network."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub/models--somebody--adapter"
    adapted, (_, tokenizer) = make_adapter(repository / "snapshots" / commit), playground()
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    record, said = evaluate("somebody/adapter")
    assert figures(record) == as_figures(measured(adapted, sandbox, tokenizer))
    assert (record["measured"]["adapter"], record["measured"]["adapter_revision"]) == ("somebody/adapter", commit)
    assert f"adapter somebody/adapter@{commit[:12]} on {model_path()}" in said


def test_another_base(evaluate, refused, tmp_path):
    make_adapter(tmp_path / "adapter")
    shutil.copytree(model_path(), tmp_path / "base")
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    gone = {**settings, "base_model_name_or_path": str(tmp_path / "gone")}
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(gone))
    line = refused(tmp_path / "adapter")
    assert f"the base of the adapter '{tmp_path / 'adapter'}' cannot be loaded" in line
    assert line.endswith("does not exist; give another copy of it with --base.")
    record, _ = evaluate(tmp_path / "adapter", "--base", tmp_path / "base")
    assert record["measured"]["model"] == str(tmp_path / "base")
    assert "is for adapters" in refused("playground", "--base", tmp_path / "base")
    assert f"{str(model_path())!r} is for adapters" in refused("playground", "--base", "playground")
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    assert "does not name its base model; give it with --base" in refused(tmp_path / "adapter")


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
def test_a_4_bit_run_is_measured_as_it_measured_itself(evaluate, tmp_path, capfd):
    from transformers import BitsAndBytesConfig

    from tests.support.trained import LORA
    from trl_gift import GiFTTrainer

    options = {"num_steps": 1, "num_generations": 1, "max_completion_length": 64, "num_description_examples": 0,
               "model_init_kwargs": {"dtype": "bfloat16"}, "learning_rate": 1e-2}  # fmt: skip
    args = GiFTConfig(str(tmp_path / "out"), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, **options)
    trainer = GiFTTrainer(
        str(model_path()),
        args,
        playground_tasks("train", 2, with_reference=True),
        playground_tasks("test", HELD_OUT),
        peft_config=LORA,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="bfloat16"
        ),
    )
    trainer.train()
    capfd.readouterr()
    record, _ = evaluate(tmp_path / "out", "--compare", "round-1")
    how = {"quantization": "4-bit nf4, computed in bfloat16", "dtype": "bfloat16"}
    assert how.items() <= record["measured"].items(), "the run has recorded it"
    assert record["measured"]["round"] == 1
    found = read_evaluation(tmp_path / "out/evaluation")["playground"]
    kept = json.loads((tmp_path / "out/_gift/round-1/evaluation.json").read_text())["attempts"]
    assert [attempt.to_record() for attempt in found.attempts] == kept

    # A checkpoint by its path, and a saved adapter that was copied away from its run, say it, too.
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    trainer.save_model(str(tmp_path / "copied"))
    for adapter in (checkpoint, tmp_path / "copied"):
        source = find_source(str(adapter))
        assert (source.loaded.quantization, source.loaded.dtype) == (how["quantization"], how["dtype"])
    # What the user says wins.
    plain, _ = evaluate(tmp_path / "out", "--load_in_4bit", "false", "--dtype", "float32")
    assert (plain["measured"]["quantization"], plain["measured"]["dtype"]) == (None, "float32")
    again, _ = evaluate(tmp_path / "out", "--load_in_4bit", "--dtype", "float32")
    assert again["measured"]["quantization"] == "4-bit nf4, computed in float32"
    # The samples of one run come from one kind of weights.
    unquantised = GiFTTrainer(
        str(model_path()), args, playground_tasks("train", 2, with_reference=True), playground_tasks("test", HELD_OUT),
        peft_config=LORA,
    )  # fmt: skip
    with pytest.raises(ResumeError, match="the quantisation of the model was '4-bit nf4, computed in bfloat16' and is now "
                       "None"):  # fmt: skip
        unquantised.train(resume_from_checkpoint=True)


@pytest.mark.parametrize(("recorded", "has_gpu", "on_cpu"), [
    (True, False, True), (True, True, True), (False, False, True), (False, True, False),
])  # fmt: skip
def test_a_model_is_measured_on_a_cpu_without_a_gpu_or_as_in_its_run(recorded, has_gpu, on_cpu, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: has_gpu)
    cpu = {"use_cpu": True, "bf16": False}
    plain = {} if has_gpu else cpu
    assert measuring_device(str(tmp_path)) == plain
    assert measuring_device(None) == plain
    RunFolder(tmp_path).start({"use_cpu": recorded})
    assert measuring_device(str(tmp_path)) == (cpu if on_cpu else {})


def test_a_run_is_measured_as_it_measured_itself(evaluate, run):
    record, said = evaluate(run, "--compare", "base", options=(*CPU, *TASKS))
    kept = json.loads((run / "_gift/round-1/metrics.json").read_text())
    assert figures(record) == {f"eval_{name}": value for name, value in kept["metrics"].items()}
    assert record["convention"] == CONVENTION, "it is asked as in the run"
    assert record["measured"]["run"] == str(run)
    assert record["measured"]["round"] == 1
    assert f"round 1 of the run {run}" in said
    compared = record["comparison"]
    assert {"pass@1": compared["difference"], "low": compared["low"], "high": compared["high"]} == kept["gain"]
    assert (compared["with"], compared["tasks"]) == (str(run / "_gift/base.json"), HELD_OUT)
    base = json.loads((run / "_gift/base.json").read_text())
    assert [attempt["status"] == "passed" for attempt in base["attempts"]] == list(base["greedy"].values())
    same, _ = evaluate(run, "--compare", run / "_gift/round-1", options=(*CPU, *TASKS))
    assert (same["comparison"]["difference"], same["comparison"]["gained"]) == (0.0, [])
    assert same["saved"] == str(run / "evaluation-2"), "nothing that was measured is overwritten"


def test_its_attempts_are_kept(evaluate, run):
    record, _ = evaluate(run, options=(*CPU, *TASKS))
    assert record["saved"] == str(run / "evaluation")
    rows = pyarrow.parquet.read_table(run / "evaluation/evaluation.parquet").to_pylist()
    assert [row["task_id"] for row in rows] == [task.task_id for task in playground_tasks("test", HELD_OUT)]
    assert set(rows[0]) == {
        "dataset", "task_id", "index", "completion", "program", "status", "message", "failing_test", "trusted",
        "isolation", "tokens", "turns",
    }  # fmt: skip
    failed = next(row for row in rows if row["status"] == "failed")
    assert failed["failing_test"].startswith("assert solve(")
    assert failed["message"]
    assert (failed["dataset"], failed["trusted"]) == ("playground", True)
    content = json.loads((run / "evaluation/evaluation.json").read_text())
    assert content["measured"] == record["measured"]
    assert content["options"]["max_completion_length"] == 64
    assert content["sets"]["playground"]["outcomes"] == record["outcomes"]
    assert content["versions"]["trl_gift"] == trl_gift.__version__


def test_without_a_saved_model_it_is_the_last_checkpoint_of_a_round(evaluate, refused, run):
    for path in run.glob("adapter*"):
        path.unlink()
    (checkpoint,) = run.glob("checkpoint-*")
    record, said = evaluate(run, options=(*CPU, *TASKS))
    assert (record["measured"]["adapter"], record["measured"]["round"]) == (str(checkpoint), 1)
    assert f"round 1 of the run {run}" in said
    mark = json.loads((checkpoint / "gift_state.json").read_text())
    (checkpoint / "gift_state.json").write_text(json.dumps({**mark, "is_end": False}))
    assert f"'{run}' is the folder of a run that has no trained model yet" in refused(run)


@pytest.fixture
def run_file(tmp_path):
    def write(**changes):
        options = {"model_name_or_path": "playground", "dataset_name": "playground", "dataset_test_split": "test",
                   "eval_limit": HELD_OUT, "prompt_tests": 0, "max_completion_length": 64, **changes}  # fmt: skip
        path = tmp_path / "run.yaml"
        path.write_text(json.dumps(options))
        return path

    return write


def test_the_file_of_a_finished_run_stands_for_its_trained_model(evaluate, run, run_file):
    file = run_file(output_dir=str(run), resume=True)
    record, said = evaluate("--config", file, options=CPU)
    assert record["measured"]["adapter"] == str(run)
    assert f"{run} holds the run of these options: its trained model is measured, and not {model_path()}." in said
    record, _ = evaluate("--config", file, "--model_name_or_path", "playground", options=CPU)
    assert record["measured"]["adapter"] is None


def test_before_it_is_trained_the_file_stands_for_the_base_and_a_line_says_so(evaluate, run_file, tmp_path):
    record, said = evaluate("--config", run_file(output_dir=str(tmp_path / "later")), options=CPU)
    assert record["measured"]["model"] == str(model_path())
    line = f"warning: {tmp_path / 'later'} holds no trained model yet; the base model {model_path()} is measured."
    assert said.splitlines().count(line) == 1
    assert "warning" not in evaluate("--config", run_file(), options=CPU)[1]


def test_the_model_of_a_server(evaluate, sandbox, tmp_path):
    """The server has other weights than the folder here, which has none at all."""
    adapted, (_, tokenizer) = make_adapter(tmp_path / "adapter"), playground()
    wanted = as_figures(measured(adapted, sandbox, tokenizer))
    shutil.copytree(model_path(), tmp_path / "names", ignore=shutil.ignore_patterns("*.safetensors"))
    with serve(adapted, tokenizer) as (url, backend):
        server = ["--generation_engine", "server", "--vllm_server_base_url", url]
        record, said = evaluate(tmp_path / "names", *server)
        assert not backend.adapters, "nothing is exported"
    assert figures(record) == wanted
    assert (record["measured"]["server"], record["measured"]["dtype"]) == (url, None)
    assert f"the weights of the server, engine server at {url}" in said


def test_a_model_in_memory_stands_for_that_of_a_server(sandbox):
    """Without an adapter there is nothing to export; what does not fit into the server's context is left out and counted."""
    model, tokenizer = playground()
    with serve(model, tokenizer, context=96) as (url, backend):
        found = measured(model, sandbox, tokenizer, generation_engine="server", vllm_server_base_url=url)
        assert all(len(body["prompt"]) + body["max_tokens"] <= 94 for body in backend.requests)
        assert not backend.adapters
    attempted = {attempt.task_id for attempt in found.attempts}
    assert 0 < len(found.left_out) < HELD_OUT
    assert not attempted & set(found.left_out)
    alone = {attempt.task_id: attempt for attempt in measured(model, sandbox, tokenizer).attempts}
    assert [attempt.completion for attempt in found.attempts] == [
        alone[attempt.task_id].completion for attempt in found.attempts
    ]


def test_an_adapter_on_the_model_of_a_server(evaluate, sandbox, tmp_path):
    adapted, (base, tokenizer) = make_adapter(tmp_path / "adapter"), playground()
    with serve(base, tokenizer) as (url, backend):
        record, _ = evaluate(tmp_path / "adapter", "--generation_engine", "server", "--vllm_server_base_url", url)
        assert len(backend.adapters) == 1
    assert figures(record) == as_figures(measured(adapted, sandbox, tokenizer))


def test_several_sets(evaluate, sandbox, tmp_path):
    sets = {"mine": playground_tasks("test", 3), "more": playground_tasks("validation", 2)}
    for name, tasks in sets.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(task.to_row()) + "\n" for task in tasks))
    options = (*CPU, *SHORT, "--eval_dataset_name", str(tmp_path / "mine.jsonl"))
    one, _ = evaluate("playground", options=options)
    assert one["eval_num_tasks"] == 3.0
    record, _ = evaluate(
        "playground", "--save", tmp_path / "kept", options=(*options, f"other={tmp_path / 'more.jsonl'}")
    )
    results = trl_gift.evaluate(str(model_path()), sets, config(), sandbox=sandbox)
    assert figures(record) == {
        f"eval_{label}_{key}": value
        for label, name in (("mine", "mine"), ("other", "more"))
        for key, value in results[name].metrics().items()
    }
    assert record["eval_mine_pass@1"] == one["eval_pass@1"]
    assert list(record["outcomes"]) == ["mine", "other"]
    repeated, _ = evaluate(
        "playground", "--compare", tmp_path / "kept",
        options=(*options, "--eval_dataset_name", f"other={tmp_path / 'more.jsonl'}"),
    )  # fmt: skip
    assert figures(repeated) == figures(record)
    assert {name: found["difference"] for name, found in repeated["comparison"].items()} == {"mine": 0.0, "other": 0.0}


def test_a_comparison_names_at_most_five_tasks():
    from trl_gift.cli.evaluate import _compared_lines
    from trl_gift.evaluation import compare

    names = [f"t{number:02d}" for number in range(23)]
    found = compare(dict.fromkeys(names, True), {**dict.fromkeys(names, False), "t00": True})
    difference, gained, lost = _compared_lines(found, "earlier")
    assert "more tasks are solved than there" in difference
    assert gained.split(maxsplit=1) == ["gained", f"22: {', '.join(names[1:6])} and 17 more"]
    assert lost.split() == ["lost", "0"]


def test_an_evaluation_in_the_words_of_an_earlier_version_can_be_compared(evaluate, run, tmp_path):
    earlier = json.loads((run / "_gift/base.json").read_text())
    earlier["convention"] = earlier["convention"].replace("prompts for base models", "base prompts").replace(
        "imports of the reference not shown", "imports of references not pinned"
    )  # fmt: skip
    (tmp_path / "copy/_gift").mkdir(parents=True)
    (tmp_path / "copy/_gift/run.json").write_text((run / "_gift/run.json").read_text())
    (tmp_path / "copy/_gift/base.json").write_text(json.dumps(earlier))
    record, _ = evaluate(run, "--compare", tmp_path / "copy/_gift/base.json", options=(*CPU, *TASKS))
    assert record["comparison"]["tasks"] == HELD_OUT


def test_what_cannot_be_compared(refused, evaluate, run, tmp_path):
    evaluate(run, "--save", tmp_path / "kept", options=(*CPU, *TASKS))
    fewer = (*CPU, "--eval_dataset_name", "playground", "--eval_limit", "4")
    line = refused(run, "--compare", tmp_path / "kept", options=fewer)
    assert "measured other tasks: 4 are shared, of 4 of 'playground' here and 6 there" in line
    assert "measured other tasks: 4 are shared" in refused(run, "--compare", "base", options=fewer)
    line = refused(run, "--compare", "base", "--prompt_tests", "1", options=(*CPU, *TASKS))
    assert f"asked otherwise ({CONVENTION}; here: prompts for base models, at most 1 test shown" in line
    assert "with 6 shared tasks" in line
    rows = [{**task.to_row(), "description": "Other."} for task in playground_tasks("test", HELD_OUT)]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = (*CPU, "--eval_dataset_name", str(tmp_path / "other.jsonl"))
    assert "tasks of the same names whose contents differ" in refused(run, "--compare", "base", options=other)


def test_another_length_is_said(evaluate, run):
    _, said = evaluate(run, "--compare", "base", "--max_completion_length", "40", options=(*CPU, *TASKS))
    assert f"warning: completions have at most 40 tokens here and 64 in {run}/_gift/base.json." in said


def test_mistakes_are_one_line(refused, run, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/evaluation.json").write_text("{}")
    (tmp_path / "file").write_text("")
    cases = [
        ([run], CPU, "does not hold the tasks themselves; name them with --eval_dataset_name, or give the run's file"),
        (["playground", "--resume"], (), "--resume: a measurement is not resumed"),
        (["playground", "--model_name_or_path", "x"], TASKS, "both name what to measure; leave one of them out"),
        (["playground", "--compare", "base"], (*CPU, *TASKS), "what is measured is not a run; give a folder"),
        (["playground", "--compare", tmp_path], (*CPU, *TASKS), "holds no evaluation; give a folder that --save wrote"),
        (["playground", "--compare", run], (*CPU, *TASKS), "is the folder of a run, which holds several evaluations"),
        ([run, "--compare", "round-7"], (*CPU, *TASKS), "_gift/round-7' holds no evaluation"),
        (["playground", "--save", tmp_path / "kept"], (*CPU, *TASKS), "kept' holds an evaluation already"),
        (["playground", "--save", tmp_path / "file/x"], (*CPU, *TASKS), "file/x' cannot be written to (Not a directory)"),
        (["playground"], (*CPU, "--eval_dataset_name", "playground", run), "is the folder of a run, and no dataset"),
        (["playground"], (*CPU, "--eval_dataset_name", "playground", "playground"), "another set is called 'playground'"),
        ([tmp_path / "nowhere"], (*CPU, *TASKS), "does not exist; check the path"),
        ([tmp_path / "file"], (*CPU, *TASKS), "is a file; give the folder that holds the model"),
        ([tmp_path], (*CPU, *TASKS), "holds no config.json, so it is not a model"),
    ]  # fmt: skip
    for arguments, options, message in cases:
        line = refused(*arguments, options=map(str, options))
        assert message in line, line
        assert len(line) < 900
