"""Mistakes at the command line: each is told in one line that names the value and the cure, with exit code 2."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trl_gift.cli.main import main
from trl_gift.errors import StageUnavailable
from trl_gift.playground import model_path
from trl_gift.tasks import load_tasks

REPOSITORY = Path(__file__).parents[2]
GOOD_ROW = {
    "task_id": "a", "description": "Add.", "signature": "def add(a, b):", "tests": ["assert add(1, 2) == 3"],
    "reference": "def add(a, b):\n    return a + b",
}  # fmt: skip
# What a run on the playground needs; a case's own options come on top.
RUN = {
    "model_name_or_path": "playground", "dataset_name": "playground", "limit": 2, "output_dir": "out", "use_cpu": True,
    "bf16": False, "report_to": "none",
}  # fmt: skip


def options(**changes):
    """Flags of a run that is right but for the changes; None leaves an option out."""
    values = {**RUN, **changes}
    flags = []
    for name, value in values.items():
        if value is not None:
            flags += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return flags


def run(command="train", **changes):
    return [command, *options(**changes)]


FILES = {
    "good.jsonl": json.dumps(GOOD_ROW),
    "empty.jsonl": "",
    "train-only/train.jsonl": json.dumps(GOOD_ROW),
    "blank.jsonl": "\n\n",
    "malformed.jsonl": json.dumps(GOOD_ROW) + "\n{'task_id': 'b'}\n",
    "list.jsonl": "[1, 2]\n",
    "no-tests.jsonl": json.dumps({**GOOD_ROW, "tests": []}),
    "no-column.jsonl": json.dumps({"task_id": "a", "description": "Add."}),
    "number.jsonl": json.dumps({**GOOD_ROW, "description": 3}),
    "twice.jsonl": "\n".join([json.dumps(GOOD_ROW)] * 2),
    "signature.jsonl": json.dumps({**GOOD_ROW, "signature": "add(a, b)"}),
    "broken.parquet": "PAR1 and then nothing",
    "tasks.txt": "task_id,description\n",
    "file": "",
    "list.yaml": "- 1\n",
    "broken.yaml": "a: [\n",
    "empty.yaml": "",
    "keys.yaml": "3: x\n",
    "truth.yaml": "yes: x\n",
    "resume.yaml": "resume: perhaps\n",
    "unknown.yaml": "num_stepz: 3\n",
    "type.yaml": "num_steps: 3.5\n",
    "text.yaml": "num_steps: many\n",
    "hot.yaml": "temperature: hot\n",
    "switch.yaml": "save_strategy: no\n",
    "mapping.yaml": "learning_rate:\n  rate: 1\n",
    "config-only/config.json": (model_path() / "config.json").read_text(),
    "adapter/adapter_config.json": "{}",
    "nothing/readme.txt": "",
    "held/_gift/run.json": json.dumps({"schema": 1}),
    "old/_gift/run.json": json.dumps({"schema": 0}),
    "bert/config.json": json.dumps({"model_type": "bert", "architectures": ["BertForMaskedLM"]}),
    "bert/model.safetensors": "",
    "bert/tokenizer.json": "",
    "remote/config.json": json.dumps(
        {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": {"AutoConfig": "own.OwnConfig"}}
    ),
    "remote/own.py": "raise SystemExit('ran code of a stranger')",
    "remote/model.safetensors": "",
    "remote/tokenizer.json": "",
}

CASES = [
    # Commands and options
    (["nonsense"], "'nonsense' is not a command; use one of quickstart, train"),
    (["trian"], "did you mean train?"),
    (run(num_stepz=3), "--num_stepz is not an option of `trl-gift train`; did you mean --num_steps?"),
    (run("sample", frobnicate=3), "--frobnicate is not an option of `trl-gift sample`; `trl-gift sample --help` lists"),
    (["train", "mbpp"], "mbpp is not an option of `trl-gift train`"),
    (["evaluate", "--limit"], "--limit: expected one argument"),
    (["doctor", "--jsn"], "--jsn is not an option of `trl-gift doctor`; did you mean --json?"),
    (["quickstart", "--sampler", "nonsense"], "--sampler: invalid choice: 'nonsense'"),
    (["quickstart", "--rounds", "many"], "--rounds: invalid int value: 'many'"),
    (["quickstart", "--tasks", "0"], "--tasks 0: must be at least 1"),
    (["quickstart", "--rounds", "0"], "--rounds 0 is out of range"),
    (["quickstart", "--output-dir", "file"], "--output-dir file is a file"),
    (["validate"], "the following arguments are required: dataset"),
    (["estimate", *options(), "--memory-gb", "0"], "--memory-gb 0: must be above zero"),
    (["estimate", *options(), "--memory-gbs", "4"], "--memory-gbs is not an option of `trl-gift estimate`; did you mean --memory-gb?"),
    (["estimate", *options(), "--calibration-tasks", "0"], "--calibration-tasks 0: must be at least 1"),
    (["train"], "--model_name_or_path is missing; name a model"),
    (["train", "--model-name-or-path", "playground"], "--dataset_name is missing; name a dataset"),
    (["evaluate", "playground", "--model-name-or-path", "x"], "'playground' and --model_name_or_path 'x' both name"),
    (["estimate"], "--model_name_or_path is missing; name a model"),
    # Types, choices, ranges
    (run(num_steps="many"), "--num_steps: invalid int value: 'many'"),
    (run(top_p="hot"), "--top_p: invalid float value: 'hot'"),
    (run(use_cpu="perhaps"), "got perhaps but expected one of yes/no, true/false"),
    (run(num_steps=0), "--num_steps 0 is out of range; use a number that is at least 1"),
    (run(top_p=1.5), "--top_p 1.5 is out of range; use a number that is above 0 and at most 1"),
    (run(temperature=-1), "--temperature -1.0 is out of range; use a number"),
    (run(server_port=70000), "--server_port 70000 is out of range"),
    (run(limit=0), "--limit 0 is out of range"),
    (run(sampler="metropolis"), "--sampler: invalid choice: 'metropolis' (choose from"),
    (run(preset="best"), "preset 'best' is unknown; use one of 'gift', 'gift-paper', 'persd', 'rest-em'"),
    (run(sampler="hinted", num_steps=1), "--num_steps 1 leaves --sampler hinted no step to try again in"),
    (run(sampler="hinted", verify=False), "with --verify false nothing is run that could fail"),
    (run(sampler="hinted"), "none of the 2 tasks has one; use --hint failing_test"),
    (run(report_to="wanbd"), "--report_to wanbd is not installed, or no tracker"),
    (run(report_to="dvclive"), "--report_to dvclive is not installed"),
    (run(num_completions_to_print=-1), "--num_completions_to_print -1 is out of range"),
    (run(push_to_hub=True, samples_private=True), "--samples_private needs --push_samples"),
    (run(pool="best"), "--pool: invalid choice: 'best' (choose from"),
    (run(isolation="some"), "--isolation: invalid choice: 'some' (choose from"),
    (run(generation_engine="turbo"), "--generation_engine: invalid choice: 'turbo' (choose from"),
    (run(generation_engine="server", vllm_server_base_url="http://127.0.0.1:9", sampling_model=str(model_path()), server_patience=0),
     "--vllm_server_base_url http://127.0.0.1:9: http://127.0.0.1:9/v1/models does not answer (ConnectionRefusedError: [Errno 111] "
     "Connection refused); start the server first"),
    (run(prompt_format="poem"), "--prompt_format: invalid choice: 'poem' (choose from"),
    (run(optim="sgdd"), "--optim: invalid choice: 'sgdd'; did you mean sgd?"),
    (run(eval_num_generations=2, eval_k=[1, 5]), "--eval_k 1 5 needs --eval_num_generations of at least 5"),
    (run("evaluate", eval_k=[1, 4]), "--eval_k 1 4 needs --eval_num_generations of at least 4, not 0; raise it or leave out --eval_k"),
    (run(stop=["x", ""]), "--stop x '' holds an empty text"),
    (run(chat_template_kwargs="{enable"), "--chat_template_kwargs '{enable' is not JSON (Expecting property name enclosed in double quotes, column 2)"),
    (run(system_prompt="Be brief."), "--system_prompt 'Be brief.' needs a chat model"),
    (run(prompt_format="chat"), "--prompt_format chat needs a tokenizer with a chat template"),
    # The YAML file
    (["train", "--config", "absent.yaml"], "absent.yaml: no such file; check the path"),
    (["train", "--config"], "--config needs a file"),
    (["train", "--config=absent.yaml"], "absent.yaml: no such file"),
    (["train", "--config", "list.yaml"], "must hold 'option: value' lines, not list"),
    (["train", "--config", "empty.yaml"], "must hold 'option: value' lines, not NoneType"),
    (["train", "--config", "broken.yaml"], "broken.yaml: not YAML"),
    (run(config="unknown.yaml"), "--config: 'num_stepz' is not an option; did you mean 'num_steps'?"),
    (run(config="type.yaml"), "--config: 'num_steps': 3.5 is of the wrong type; give a whole number"),
    (run(config="text.yaml"), "--config: 'num_steps': 'many' is of the wrong type; give a whole number"),
    (run(config="hot.yaml"), "--temperature hot is unknown; use a number or 'auto'"),
    (run(temperature="warm"), "--temperature warm is unknown; use a number or 'auto'"),
    (run(temperature="-1"), "--temperature -1.0 is out of range; use a number that is at least 0"),
    (run(temperature="nan"), "--temperature nan is out of range"),
    (run(temperature="auto", verify="false"), "--temperature auto counts programs that pass, but with --verify false"),
    (run(config="switch.yaml"), "--config: 'save_strategy': False is of the wrong type"),
    (run(config="mapping.yaml"), "--config: 'learning_rate': {'rate': 1} is of the wrong type; give a number"),
    (["train", "--config", "latin.yaml"], "--config latin.yaml: not UTF-8 (byte 0xe9 at position 12); save the file as UTF-8"),
    (["train", "--config", "keys.yaml"], "--config keys.yaml: 3 is not the name of an option; write 'option: value' lines"),
    (["train", "--config", "truth.yaml"], "--config truth.yaml: True is not the name of an option"),
    (run(accelerate_config="latin.yaml"), "--accelerate_config latin.yaml: not UTF-8"),
    (run(config="resume.yaml"), "--config: 'resume': 'perhaps' is of the wrong type; give true or false"),
    # Tasks
    (run(dataset_name=None), "--dataset_name is missing"),
    (run(dataset_name="absent.jsonl"), "absent.jsonl: no such file; check the path"),
    (run(dataset_name="empty.jsonl"), "empty.jsonl holds no tasks; give at least one row"),
    (run("sample", dataset_name="blank.jsonl"), "blank.jsonl holds no task"),
    (run(dataset_name="malformed.jsonl", limit=None), "malformed.jsonl, line 2: not JSON (Expecting property name enclosed in double quotes, column 2); write"),
    (run("evaluate", eval_dataset_name="list.jsonl"), "is not a JSON object; write a list of objects"),
    (run(dataset_name="no-tests.jsonl"), "no-tests.jsonl, line 1: field 'tests'"),
    (run(dataset_name="no-column.jsonl"), "columns ['description', 'task_id'] do not match a known format: the nearest is our own format, and these rows lack its 'tests'; add it"),
    (run(dataset_name="number.jsonl"), "number.jsonl, line 1: field 'description': 3: must be a non-empty text"),
    (run(dataset_name="signature.jsonl"), "field 'signature': 'add(a, b)': give imports and one open def line"),
    (run("estimate", dataset_name="twice.jsonl"), "task_id 'a' occurs twice; make every task_id unique"),
    (run(dataset_name="broken.parquet"), "broken.parquet: not a Parquet file"),
    (run(dataset_name="tasks.txt"), "tasks.txt: a local dataset must be one of .jsonl"),
    (run(dataset_name="nobody/no-such-dataset"), "dataset 'nobody/no-such-dataset' is no file here, is not in the cache, and"),
    (run(eval_dataset_name="absent.jsonl"), "absent.jsonl: no such file"),
    # Splits, and options of tasks that there are not
    (run(dataset_name="good.jsonl", dataset_train_split="trian"), "split 'trian': good.jsonl is a file, which has only the split"),
    (run(dataset_train_split="trian"), "split='trian' is unknown; the playground has 'train', 'validation', 'test'"),
    (run(dataset_test_split="tset"), "split='tset' is unknown; the playground has"),
    (run(eval_dataset_name="good.jsonl", dataset_test_split="tset"), "split 'tset': good.jsonl is a file"),
    (run(dataset_name="good.jsonl", dataset_test_split="test"), "split 'test': good.jsonl is a file"),
    (["validate", "good.jsonl", "--split", "tset"], "split 'tset': good.jsonl is a file"),
    (["validate", "playground", "--split", "tset"], "--split tset is unknown; the playground has"),
    (run(dataset_name="train-only", limit=None, dataset_test_split="test"), "dataset 'train-only' has no split 'test' (Unknown split"),
    (run("evaluate", dataset_name="train-only", limit=None), "dataset 'train-only' has no split 'test' (Unknown split"),
    (run("evaluate", dataset_name="good.jsonl", limit=None), "--dataset_name good.jsonl is a file and has no test split; to measure on its tasks, give it as --eval"),
    (run("evaluate"), "--limit 2 is for training tasks; use --eval_limit"),
    (run(eval_limit=10), "--eval_limit 10, but there are no evaluation tasks; give --dataset_test_split or --eval_dataset_name"),
    (run("estimate", eval_filter="len(tests) > 1"), "but there are no evaluation tasks; give --dataset_test_split"),
    (["validate", "absent.jsonl"], "absent.jsonl: no such file"),
    (["validate", "no-column.jsonl"], "do not match a known format"),
    (["validate", "good.jsonl", "--runs", "0"], "--runs 0: must be at least 1"),
    (["validate", "good.jsonl", "--workers", "0"], "--workers 0: must be at least 1"),
    (["validate", "good.jsonl", "--output", "absent/clean.jsonl"], "--output absent/clean.jsonl: no such folder"),
    # The model
    (run(model_name_or_path=None), "--model_name_or_path is missing"),
    (run(model_name_or_path="/absent/model"), "--model_name_or_path /absent/model does not exist; check the path"),
    (run("evaluate", limit=None, model_name_or_path="nobody/no-such-model"), "nobody/no-such-model is no folder here, is not in the cache, and HF_HUB_OFFLINE keeps"),
    (run("estimate", model_name_or_path="nobody/no-such-model"), "nobody/no-such-model is no folder here, is not in the cache, and"),
    (run(model_name_or_path="file"), "--model_name_or_path file is a file; give the folder"),
    (run(model_name_or_path="nothing"), "--model_name_or_path nothing holds no config.json"),
    (run(model_name_or_path="adapter"), "--model_name_or_path adapter is an adapter and not a whole model; merge it"),
    (run(model_name_or_path="config-only"), "--model_name_or_path config-only holds no weights"),
    (run(model_name_or_path="no-tokenizer"), "no-tokenizer holds no tokenizer; save it there"),
    (run(model_name_or_path="bert"), "BertForMaskedLM, which is not a causal language model"),
    (run(model_name_or_path="remote"), "it runs code of its own); read that code and set --trust_remote_code if you"),
    (run("sample", dtype="bf16"), "--dtype: invalid choice: 'bf16' (choose from"),
    (run(model_init_kwargs='{"dtype": "int8"}'), "--dtype int8 is unknown; use 'float32', 'bfloat16', 'float16' or 'auto'"),
    (run(attn_implementation="nonsense"), '--attn_implementation nonsense` is not supported'),
    (run(use_peft=True, lora_target_modules=["nonsense"]), "Target modules nonsense not found in the base model"),
    (run(load_in_4bit=True), "cannot be trained itself; train an adapter on it (--use_peft"),
    (run(load_in_4bit=True, load_in_8bit=True, use_peft=True), "You can't use 8 bit and 4 bit precision"),
    ([*run("estimate"), "--memory-gb", "0.01"], "playground does not fit: the run needs"),
    (["merge", "adapter"], "the following arguments are required: --output"),
    (["merge", "adapter", "--output", "x", "--dtype", "floot16"], "invalid choice: 'floot16'; did you mean float16?"),
    (["merge", "nothing", "--output", "x"], "'nothing' holds no adapter_config.json; give a folder with one"),
    (["merge", "config-only", "--output", "x"], "'config-only' holds a whole model, which needs no merge"),
    (["merge", "adaptr", "--output", "x"], "'adaptr' does not exist; check the path, or give a name on the Hub"),
    (["merge", "./nobody/adaptr", "--output", "x"], "'./nobody/adaptr' does not exist; check the path"),
    (["merge", "nobody/adaptr", "--output", "x"], "'nobody/adaptr' is neither a folder here nor an adapter on the Hub ("),
    (["merge", "file", "--output", "x"], "'file' is a file; give the folder that holds adapter_config.json"),
    # Processes
    (run(accelerate_config="absent.yaml"), "absent.yaml"),
    (run(num_processes="two"), "--num_processes: invalid int value: 'two'"),
    (run("sample", num_processes=2), "--num_processes is not an option of `trl-gift sample`"),
    # The device and the engine
    (run(use_cpu=None), "no GPU that torch can use; set --use_cpu to run on the CPU"),
    (run(vllm_server_base_url="http://x"), "--vllm_server_base_url http://x needs --generation_engine server, not 'auto'"),
    (run(generation_engine="server", vllm_server_base_url="http://x", server_command="y"), "exclude each other"),
    (run(generation_engine="server", vllm_server_base_url="http://x"), "cannot follow full fine-tuning"),
    # The folder
    (run(output_dir="file"), "--output_dir file is a file; give a folder"),
    (run(output_dir="file/out"), "--output_dir file/out cannot be a folder, because file is a file; give another"),
    (run(output_dir="/proc/out"), "--output_dir /proc/out cannot be written to"),
    (run(output_dir="held"), "held already holds a run; continue it with --resume, or give another"),
    ([*run(output_dir="old"), "--resume"], "run.json has schema 0; this version continues "),
    ([*run("sample", output_dir="changed"), "--resume"], "--num_steps was 7 and is now 20; put it back"),
    (run(output_dir="changed", num_steps=7, resume_from_checkpoint="out/checkpoint-9"), "is not a complete checkpoint"),
    (run(output_dir="new", resume_from_checkpoint="new/checkpoint-9"), "and new holds no run"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that the cases name."""
    from trl_gift import GiFTConfig
    from trl_gift.playground import playground_tasks
    from trl_gift.run.folder import RunFolder, describe_run

    root = tmp_path_factory.mktemp("mistakes")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "latin.yaml").write_bytes(b"output_dir: \xe9t\xe9\n")
    (root / "no-tokenizer").mkdir()
    for name in ("config.json", "model.safetensors"):
        (root / "no-tokenizer" / name).symlink_to(model_path() / name)
    changed = GiFTConfig("changed", num_steps=7, max_completion_length=256, use_cpu=True, bf16=False, report_to="none")
    tasks = playground_tasks("train", 2)
    RunFolder(root / "changed").start(
        describe_run(changed.gift_options(), str(model_path()), tasks, [], changed.seeds())
    )
    return root


@pytest.fixture(autouse=True)
def _libraries_as_they_were():
    """`quickstart` quietens them for its process, which here is that of all tests; bars of loading are no complaint."""
    import datasets
    import transformers

    verbosity = transformers.logging.get_verbosity()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    yield
    transformers.logging.set_verbosity(verbosity)
    transformers.logging.enable_progress_bar()
    datasets.enable_progress_bars()


@pytest.mark.parametrize(("arguments", "message"), CASES, ids=[message for _, message in CASES])
def test_a_mistake_is_one_line_and_exit_code_2(folder, capfd, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    code = main(arguments)
    error = capfd.readouterr().err
    assert code == 2, error
    assert len(error.strip().splitlines()) == 1, error
    (line,) = error.strip().splitlines()
    assert line.startswith("trl-gift: ")
    assert message in line
    assert len(line) < 900


def test_nothing_else_is_said_by_the_process_itself(folder):
    """Warnings of libraries, which a test run would swallow, included."""
    process = subprocess.run(
        [sys.executable, "-m", "trl_gift.cli.main", *run(limit=None, model_name_or_path="nothing")],
        capture_output=True, text=True, timeout=1800, check=False, cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert process.returncode == 2
    assert process.stdout == ""
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("trl-gift: --model_name_or_path nothing holds no config.json")


def test_there_are_many_of_them():
    assert len(CASES) >= 40
    assert len({message for _, message in CASES}) > 70


def test_what_is_right_is_not_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_tasks("good.jsonl")[0].task_id == "a"


def test_4_bit_without_bitsandbytes(folder, capfd, monkeypatch):
    import importlib.util

    monkeypatch.chdir(folder)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)
    )
    assert main(run(load_in_4bit=True, use_peft=True)) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "--load_in_4bit and --load_in_8bit need bitsandbytes, which is not installed; run `pip install" in line


def test_a_dry_run_of_what_does_not_fit(folder, capfd, monkeypatch):
    from trl_gift.estimate import given_device

    monkeypatch.chdir(folder)
    monkeypatch.setattr("trl_gift.cli.estimate.this_device", lambda on_cpu: given_device(0.01))
    assert main([*run(), "--dry-run"]) == 2
    out, error = capfd.readouterr()
    assert "DOES NOT FIT" in out
    (line,) = error.strip().splitlines()
    assert line.startswith("trl-gift: playground does not fit: the run needs ")


def test_out_of_memory(folder, capfd, monkeypatch):
    import torch

    def make_trainer(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nMore about the allocator.")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("trl_gift.cli.sample.make_trainer", make_trainer)
    assert main(run("sample")) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    command = shlex.join(["trl-gift", "train", *run("sample")[1:], "--dry-run"])
    assert line == (
        f"trl-gift: out of memory (CUDA out of memory. Tried to allocate 3 GiB.); `{command}` says what fits. What was "
        "sampled is kept."
    )


@pytest.mark.parametrize(("name", "kept"), [("train", True), ("evaluate", False), ("estimate", False)])
def test_a_stage_that_is_gone_leaves_what_the_command_keeps(capfd, monkeypatch, name, kept):
    def gone(arguments):
        raise StageUnavailable("the server of seed=3 is gone.")

    monkeypatch.setattr(f"trl_gift.cli.{name}.run", gone)
    assert main([name]) == 1
    lines = ["trl-gift: the server of --seed 3 is gone.", "What was sampled is kept; continue with --resume."]
    assert capfd.readouterr().err.splitlines() == lines[: 1 + kept]


def test_a_model_without_isolation_is_told(folder, capfd, monkeypatch):
    from trl_gift.sandbox import IsolationUnavailable

    def unavailable(*arguments, **options):
        raise IsolationUnavailable("programs cannot be isolated here; see `trl-gift doctor`.")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("trl_gift.cli.validate.LocalSandbox", unavailable)
    assert main(["validate", "good.jsonl"]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line == "trl-gift: programs cannot be isolated here; see `trl-gift doctor`."
