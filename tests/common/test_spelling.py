"""Options in lines are spelled as the user of a command gives them."""

from __future__ import annotations

import shlex

import pytest

from trl_gift.common.spelling import flags_of, spell

NAMES = {
    "num_steps": "num_steps", "num_rounds": "rounds", "use_cpu": "use_cpu", "stop": "stop", "column_mapping": "column_mapping",
    "eval_k": "eval_k", "seed": "seed", "temperature": "temperature", "eos_token": "eos_token", "folder": "",
    "resume_from_checkpoint": "resume_from_checkpoint", "output_dir": "output-dir",
}  # fmt: skip


@pytest.mark.parametrize(("line", "spelled"), [
    ("num_steps=0 is out of range", "--num_steps 0 is out of range"),
    ("set use_cpu=True.", "set --use_cpu."),
    ("set use_cpu=False.", "set --use_cpu false."),
    ("eval_k=[1, 5] needs more", "--eval_k 1 5 needs more"),
    ("stop=['x', ''] holds an empty text", "--stop x '' holds an empty text"),
    ("use column_mapping={'yours': 'tests'}", """use --column_mapping '{"yours": "tests"}'"""),
    ("set eos_token='<|im_end|>'.", "set --eos_token '<|im_end|>'."),
    ("too high (temperature='auto' tries several)", "too high (--temperature auto tries several)"),
    ("A larger num_rounds continues it.", "A larger --rounds continues it."),
    ("continue with resume_from_checkpoint=True, or give another output_dir.", "continue with --resume, or give another --output-dir."),
    ("resume_from_checkpoint='a b' is none", "--resume_from_checkpoint 'a b' is none"),
    ("call trainer.sample(resume_from_checkpoint=True) first", "call trainer.sample(resume_from_checkpoint=True) first"),
    ("other=3 and the seed and eval_k=None", "other=3 and the seed and eval_k=None"),
    ("--config: 'num_steps': 3.5 and num_steps.py and /x/num_steps/y", "--config: 'num_steps': 3.5 and num_steps.py and /x/num_steps/y"),
    ("`trl-gift train --num_steps 3 --eval_k 1`", "`trl-gift train --num_steps 3 --eval_k 1`"),
    ("temperature was 'auto' and is now 1", "--temperature was 'auto' and is now 1"),
    ("the seed was 1 and is now 2; seed was high", "the seed was 1 and is now 2; seed was high"),
    ("folder='x' holds nothing", "'x' holds nothing"),
])  # fmt: skip
def test_options_are_flags_and_all_else_stays(line, spelled):
    assert spell(line, NAMES) == spelled
    assert spell(spelled, NAMES) == spelled, "what is spelled already stays"


def test_without_names_nothing_changes():
    assert spell("num_steps=3", {}) == "num_steps=3"


@pytest.mark.parametrize(("value", "text"), [
    (True, "--x"), (False, "--x false"), (3, "--x 3"), (["a b", 2], "--x 'a b' 2"), ({"a": 1}, """--x '{"a": 1}'"""),
])  # fmt: skip
def test_a_value_as_arguments(value, text):
    assert shlex.join(flags_of("x", value)) == text
