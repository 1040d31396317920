"""A run may be continued by its like alone, and a refusal names what a person has set before what follows from it."""

from __future__ import annotations

import pytest

from trl_gift.errors import ResumeError
from trl_gift.playground import playground_tasks
from trl_gift.run.folder import RunFolder, describe_run

BEFORE = {
    "options": {"sampling_model": "org/one", "prompt_format": "base", "sandbox_workers": 1}, "model": "org/model", "tasks": 3,
    "prompts": "aaaa", "weights": {"quantization": None}, "sampling_model": {"name": "one", "fingerprint": "11", "prompts": "aaaa"},
    "seeds": {"seed": 1},
}  # fmt: skip


def described(**changes):
    given = BEFORE | changes
    return describe_run(**given | {"tasks": playground_tasks("train", given["tasks"]), "eval_tasks": []})


def options(**changes):
    return {"options": BEFORE["options"] | changes}


OTHER = {"sampling_model": {"name": "two", "fingerprint": "22", "prompts": "bbbb"}}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (options(sampling_model="org/two") | OTHER, "sampling_model was 'org/one' and is now 'org/two'"),
        (OTHER, "the name of the sampling model was 'one'"),
        ({"sampling_model": BEFORE["sampling_model"] | {"fingerprint": "22"}}, "the fingerprint of the sampling model was '11'"),
        (options(prompt_format="chat") | {"prompts": "bbbb", "tasks": 2}, "prompt_format was 'base' and is now 'chat'"),
        ({"prompts": "bbbb"}, "the model is asked in other words now"),
        ({"tasks": 2}, "it was begun with 3 training tasks, and there are 2 now"),
        ({"seeds": {"seed": 2}, "tasks": 2}, "seed was 1 and is now 2"),
        ({"model": "org/large"} | options(prompt_format="chat"), "the model was 'org/model' and is now 'org/large'"),
        ({"weights": {"quantization": "nf4"}}, "the quantisation of the model"),
    ],
)  # fmt: skip
def test_a_refusal_names_what_a_person_has_set(tmp_path, changes, named):
    run = RunFolder(tmp_path)
    run.start(described())
    run.check_continuable(described(), {"sandbox_workers"})
    run.check_continuable(described(**options(sandbox_workers=2)), {"sandbox_workers"})
    with pytest.raises(ResumeError, match=named):
        run.check_continuable(described(**changes), {"sandbox_workers"})
