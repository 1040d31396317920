"""The examples: every file is read by the parser that users read it with, and the script runs."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from trl import ModelConfig, TrlParser, get_peft_config, get_quantization_config

from trl_gift import GiFTConfig
from trl_gift.cli.arguments import parse
from trl_gift.cli.main import main
from trl_gift.playground import model_path
from trl_gift.presets import preset_names

REPOSITORY = Path(__file__).parent.parent
EXAMPLES = REPOSITORY / "examples"
CONFIGS = sorted(EXAMPLES.glob("*.yaml"))
NOTEBOOKS = sorted((EXAMPLES / "notebooks").glob("*.ipynb"))
ON_CPU = ["--use_cpu", "true", "--bf16", "false"]
# What the command needs and the file leaves to the user.
MISSING = {"mbpp_tiny_cpu": ["--dataset_name", "mbpp.jsonl"]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_read_by_the_command(path):
    """With every option known, and values that can work."""
    content = yaml.safe_load(path.read_text())
    arguments, config, model, _ = parse("train", ["--config", str(path), *MISSING.get(path.stem, []), *ON_CPU])
    for name, value in content.items():
        if name not in ("use_cpu", "bf16", "report_to"):
            found = [getattr(part, name) for part in (arguments, config, model) if hasattr(part, name)]
            # TRL makes a list of one name and an enumeration of a text.
            assert any(
                item in (value, [value]) or str(getattr(item, "value", item)) == str(value) for item in found
            ), name
    assert bool(get_peft_config(model)) == bool(content.get("use_peft"))
    assert bool(get_quantization_config(model)) == bool(content.get("load_in_4bit"))
    assert config.max_length is None or config.max_length >= config.max_completion_length


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_headed_by_a_command_that_is_right(path):
    command = shlex.split(path.read_text().splitlines()[0].removeprefix("#"))
    assert command[0] in ("trl-gift", "accelerate")
    assert command[command.index("--config") + 1] == f"examples/{path.name}"
    for item in command:
        if item.startswith("examples/"):
            assert (REPOSITORY / item).is_file(), item


def test_an_unknown_option_in_a_config_is_refused(tmp_path):
    path = tmp_path / "typo.yaml"
    path.write_text(CONFIGS[0].read_text() + "num_stepz: 3\n")
    script = runpy.run_path(str(EXAMPLES / "gift.py"))
    parser = TrlParser((script["GiFTScriptArguments"], GiFTConfig, ModelConfig))
    with pytest.raises(ValueError, match="num_stepz"):
        parser.parse_args_and_config(["--config", str(path), *ON_CPU])


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if "examples/gift.py" in path.read_text()], ids=lambda path: path.stem
)
def test_a_config_is_read_by_the_script(path):
    script = runpy.run_path(str(EXAMPLES / "gift.py"))
    parser = TrlParser((script["GiFTScriptArguments"], GiFTConfig, ModelConfig))
    arguments, config, _ = parser.parse_args_and_config(["--config", str(path), *ON_CPU])
    content = yaml.safe_load(path.read_text())
    assert (arguments.dataset_name, config.num_steps) == (content["dataset_name"], content["num_steps"])


@pytest.mark.parametrize("name", ["gift", "grpo", "dpo_from_run"])
def test_a_script_names_its_dependencies(name):
    """PEP 723: what `uv run` and `hf jobs uv run` install covers every library that the script imports."""
    text = (EXAMPLES / f"{name}.py").read_text()
    (block,) = re.findall(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", text)
    header = tomllib.loads("".join(line.removeprefix("#").removeprefix(" ") for line in block[0].splitlines(True)))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert header["requires-python"] == project["requires-python"]
    requirements = {canonicalize_name(found.name): found for found in map(Requirement, header["dependencies"])}
    assert requirements["trl-gift"].extras <= project["optional-dependencies"].keys()
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert {canonicalize_name(name) for name in imported - sys.stdlib_module_names} == requirements.keys()


def test_the_script_trains(tmp_path, monkeypatch):
    """The command of its docstring, with less to do."""
    text = ast.get_docstring(ast.parse((EXAMPLES / "gift.py").read_text()))
    command = shlex.split(text.split("    python examples/gift.py ")[-1])
    less = ["--output_dir", str(tmp_path / "out"), "--limit", "4", "--eval_limit", "2", "--num_steps", "2",
            "--max_steps", "1", "--report_to", "none", "--disable_tqdm", "true", "--sandbox_workers", "1",
            "--gradient_checkpointing", "false"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["gift.py", *command, *less])
    runpy.run_path(str(EXAMPLES / "gift.py"), run_name="__main__")
    metrics = json.loads((tmp_path / "out" / "_gift" / "round-1" / "metrics.json").read_text())
    assert metrics["tasks"] == 4
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_the_script_trains_with_dpo_on_a_run(tmp_path, monkeypatch):
    """The command of its docstring with less to do, on a run of the embedded model."""
    command = ["train", "--model_name_or_path", "playground", "--dataset_name", "playground", "--limit", "6", "--num_rounds", "1",
               "--num_steps", "1", "--num_generations", "4", "--max_steps", "1", "--report_to", "none", "--disable_tqdm", "true", "--sandbox_workers", "1",
               "--output_dir", str(tmp_path / "run"), *ON_CPU]  # fmt: skip
    assert main(command) == 0
    text = ast.get_docstring(ast.parse((EXAMPLES / "dpo_from_run.py").read_text()))
    shown = shlex.split(text.split("examples/dpo_from_run.py ")[-1].split("\n\n")[0].replace("\\\n", " "))
    ours = {
        "out": str(tmp_path / "run"),
        "Qwen/Qwen2.5-Coder-1.5B": str(model_path()),
        "dpo-from-out": str(tmp_path / "dpo"),
    }
    less = [
        "--max_steps",
        "2",
        "--report_to",
        "none",
        "--disable_tqdm",
        "true",
        "--gradient_checkpointing",
        "false",
        *ON_CPU,
    ]
    monkeypatch.setattr(sys, "argv", ["dpo_from_run.py", *(ours.get(item, item) for item in shown), *less])
    runpy.run_path(str(EXAMPLES / "dpo_from_run.py"), run_name="__main__")
    assert (tmp_path / "dpo" / "adapter_model.safetensors").exists()


def cells(path):
    """The code cells, without the lines that only a notebook understands."""
    notebook = json.loads(path.read_text())
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["\n".join(line for line in source.splitlines() if line[:1] not in "%!") for source in sources]


def called(path, name):
    """The keyword arguments of the only call of a name in a notebook."""
    tree = ast.parse("\n".join(cells(path)))
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]
    return {keyword.arg: keyword.value for keyword in call.keywords}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_python_without_errors_and_without_foreign_paths(path):
    for number, source in enumerate(cells(path)):
        compile(source, f"{path.name}, cell {number}", "exec")
    notebook = json.loads(path.read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert {output["output_type"] for output in outputs} <= {"stream"}
    text = "".join("".join(output["text"]) for output in outputs)
    assert "/home/" not in text
    assert "site-packages" not in text
    assert str(REPOSITORY) not in text


def test_the_notebooks_are_the_two_that_the_docs_name():
    assert [path.stem for path in NOTEBOOKS] == ["qlora_free_gpu", "quickstart_cpu"]
    shown = NOTEBOOKS[1].read_text()
    assert "of 1500 programs passed" in shown, "committed with the outputs of a run"
    assert '"outputs": [{' not in NOTEBOOKS[0].read_text().replace("\n", ""), "this notebook was not run"


def test_the_options_of_the_notebook_for_a_gpu_can_work(tmp_path):
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig

    path = NOTEBOOKS[0]
    options = {name: ast.literal_eval(value) for name, value in called(path, "GiFTConfig").items()}
    assert options["fp16"]
    assert not options["bf16"]
    config = GiFTConfig(**options | {"use_cpu": True, "fp16": False, "output_dir": str(tmp_path)})
    assert config.max_length >= 2 * config.max_completion_length
    quantization = {name: ast.literal_eval(value) for name, value in called(path, "BitsAndBytesConfig").items()}
    assert BitsAndBytesConfig(**quantization).load_in_4bit
    LoraConfig(**{name: ast.literal_eval(value) for name, value in called(path, "LoraConfig").items()})
    given = {name: ast.unparse(value) for name, value in called(path, "GiFTTrainer").items()}
    assert given["quantization_config"] == "quantization"
    assert given["peft_config"] == "lora"


@pytest.mark.slow
def test_the_quickstart_notebook_runs_and_says_what_it_said(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOKS[1], as_version=4)
    before = ["".join(output["text"] for output in cell.get("outputs", [])) for cell in notebook.cells]
    nbclient.NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    after = ["".join(output["text"] for output in cell.get("outputs", [])) for cell in notebook.cells]
    # Another machine may round otherwise and draw another program; what is shown begins in the same way.
    assert [text[:8] for text in after] == [text[:8] for text in before]
    gain = next(line for text in after for line in text.splitlines() if line.startswith("gain of pass@1"))
    assert float(gain.split("[")[1].split("%")[0]) > 0, gain


def test_every_preset_is_documented():
    page = (REPOSITORY / "docs" / "presets.md").read_text()
    assert all(f"| `{name}` |" in page for name in preset_names())
