"""The reward for TRL's online trainers: what a completion earns, and two steps of GRPO and RLOO with it."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.support.models import make_model
from tests.support.prompts import CHATML
from tests.support.sandboxes import InstantSandbox
from trl_gift.errors import ConfigError, TaskError
from trl_gift.rewards import CodeReward, as_dataset, code_reward
from trl_gift.sandbox import Limits, LocalSandbox, Outcome, Status
from trl_gift.tasks import tasks_from_rows

ADD = {
    "task_id": "add",
    "description": "Add two numbers.",
    "signature": "def add(a, b):",
    "tests": ["assert add(1, 2) == 3", "assert add(0, 0) == 0", "assert add(-1, 1) == 0", "assert add(2, 2) == 4"],
}
ECHO = {"task_id": "echo", "description": "Echo the line.", "tests": {"stdin": ["a", "b"], "stdout": ["a", "b"]}}
RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
WRONG = "```python\ndef add(a, b):\n    return 0\n```"


@pytest.fixture(scope="module")
def sandbox():
    with LocalSandbox(num_workers=1) as sandbox:
        yield sandbox


def columns(*rows):
    """The columns that TRL would hand over for rows of a dataset."""
    dataset = as_dataset(tasks_from_rows(rows))
    return {name: dataset[name] for name in dataset.column_names if name != "prompt"}


def test_what_a_completion_earns(sandbox):
    completions = [
        RIGHT,
        [{"role": "assistant", "content": f"Here you are:\n{RIGHT}"}],
        f"<think>\nFirst {WRONG}</think>\n{RIGHT}",
        "    return a + b\n",
        WRONG,
        "I cannot.",
        "<think>\nI never end",
    ]
    given = {name: list(value) * len(completions) for name, value in columns(ADD).items()}
    rewards = CodeReward(sandbox=sandbox)(prompts=[""] * 7, completions=completions, completion_ids=[[]] * 7, **given)
    assert rewards == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    shares = CodeReward(sandbox=sandbox, shape="fraction")(completions=completions, **given)
    assert shares == [1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_each_row_has_its_own_tests(sandbox):
    given = columns(ADD, ECHO)
    program = "```python\nprint(input())\n```"
    assert CodeReward(sandbox=sandbox)(completions=[RIGHT, program], **given) == [1.0, 1.0]
    assert CodeReward(sandbox=sandbox)(completions=[program, RIGHT], **given) == [0.0, 0.0]


def test_another_column_and_rows_without_names(sandbox):
    reward = CodeReward(tests="checks", sandbox=sandbox)
    given = {"checks": [ADD["tests"], ADD["tests"]], "signature": [ADD["signature"]] * 2}
    assert reward(completions=[RIGHT, WRONG], **given) == [1.0, 0.0]
    with pytest.raises(
        ConfigError, match=r"needs the dataset's column 'tests', and there are \['checks', 'signature'\]"
    ):
        CodeReward(sandbox=sandbox)(completions=[RIGHT, WRONG], **given)
    with pytest.raises(TaskError, match="field 'tests'"):
        CodeReward(sandbox=sandbox)(completions=[RIGHT], tests=[[]], signature=["def add(a, b):"])


def test_equal_programs_run_once_and_figures_are_logged():
    sandbox = InstantSandbox(lambda program, tests: Outcome(Status.PASSED if "+" in program else Status.FAILED))
    logged = {}
    given = {name: list(value) * 4 for name, value in columns(ADD).items()}
    rewards = CodeReward(sandbox=sandbox)(
        completions=[RIGHT, RIGHT, WRONG, "Nothing."],
        **given,
        log_extra=logged.__setitem__,
        log_metric=logged.__setitem__,
    )
    assert rewards == [1.0, 1.0, 0.0, 0.0]
    assert len(sandbox.submitted) == 2
    assert logged == {"code_status": ["passed", "passed", "failed", "no_code"], "code_pass_rate": 0.5}


def test_no_verdict_is_no_reward():
    sandbox = InstantSandbox(lambda program, tests: Outcome(Status.INFRASTRUCTURE))
    assert CodeReward(sandbox=sandbox)(completions=[RIGHT], **columns(ADD)) == [None]


def test_mistakes():
    with pytest.raises(ConfigError, match=r"shape='half'\) is unknown"):
        CodeReward(shape="half")
    (task,) = tasks_from_rows([{**ADD, "tests": None}], require_tests=False)
    with pytest.raises(TaskError, match="'add' has no tests"):
        as_dataset([task])
    assert code_reward.__name__ == "code_reward"


def test_limits_are_those_of_the_reward():
    slow = "```python\ndef add(a, b):\n    while True:\n        pass\n```"
    reward = CodeReward(limits=Limits(cpu_s=0.2, wall_s=5), num_workers=1)
    assert reward(completions=[slow], **columns(ADD)) == [0.0]
    reward.close()


@pytest.fixture
def model(tmp_path, chat_tokenizer_factory):
    tokenizer = chat_tokenizer_factory(CHATML, "<|im_end|>")
    make_model(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "tasks.jsonl").write_text("\n".join(json.dumps(row) for row in (ADD, ECHO)))
    return tmp_path


def test_the_script_takes_two_steps_of_grpo(model, monkeypatch):
    script = Path(__file__).parent.parent / "examples/grpo.py"
    options = {
        "model_name_or_path": model / "model", "dataset_name": model / "tasks.jsonl", "output_dir": model / "out",
        "max_steps": 2, "per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 8,
        "logging_steps": 1, "use_cpu": "true", "bf16": "false", "report_to": "none", "gradient_checkpointing": "false",
    }  # fmt: skip
    monkeypatch.setattr(
        sys, "argv", [str(script), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
    )
    runpy.run_path(str(script), run_name="__main__")
    code_reward.close()
    state = json.loads(next((model / "out").rglob("trainer_state.json")).read_text())
    steps = [entry for entry in state["log_history"] if "rewards/code_reward/mean" in entry]
    assert len(steps) == 2
    assert all(entry["rewards/code_reward/mean"] == 0.0 for entry in steps)  # this model writes noise
    assert (model / "out/model.safetensors").exists()


def test_two_steps_of_rloo(model):
    from trl import RLOOConfig, RLOOTrainer

    reward = CodeReward(sandbox=InstantSandbox(lambda program, tests: Outcome(Status.PASSED)))
    options = {
        "max_steps": 2, "per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 8, "use_cpu": True,
        "bf16": False, "report_to": "none", "gradient_checkpointing": False, "logging_steps": 1, "save_strategy": "no",
    }  # fmt: skip
    trainer = RLOOTrainer(
        model=str(model / "model"),
        reward_funcs=reward,
        args=RLOOConfig(str(model / "out"), **options),
        train_dataset=as_dataset(tasks_from_rows([ADD, ECHO])),
    )
    trainer.train()
    assert sum("rewards/code_reward/mean" in entry for entry in trainer.state.log_history) == 2
