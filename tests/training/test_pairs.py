from __future__ import annotations

from tests.support.prompts import TASK
from tests.support.worlds import TableEngine, joint_world, sample
from trl_gift.prompts import BasePrompts
from trl_gift.training.pairs import IGNORED, make_pair, training_pairs
from trl_gift.training.selection import SelectedSample
from trl_gift.training.targets import Targets

WRITE, READ, _ = joint_world(3, 4, 0.5)


def selected(target, count, task_id="t"):
    from dataclasses import replace

    from tests.support.worlds import make_task

    (one, *_) = sample([make_task(task_id)], TableEngine(WRITE, READ), num_steps=1)
    return SelectedSample(replace(one, target=target, code=f"def solve(xs):\n{target}"), 0.5, count)


def test_loss_is_on_the_completion_and_the_end_token_only(tokenizer):
    prompts = BasePrompts(tokenizer)
    pair = make_pair(TASK, "    return sum(xs)", prompts)
    learned = [label for label in pair.labels if label != IGNORED]
    # This tokenizer joins the line break before the body with its indentation.
    assert tokenizer.decode(learned) == "\n    return sum(xs)<|endoftext|>"
    assert len(pair.labels) == len(pair.input_ids)
    assert pair.input_ids[-len(learned) :] == learned
    assert tokenizer.decode(pair.input_ids[: -len(learned)]) == 'def solve(xs):\n    """Sum of xs."""'


def test_every_code_is_paired_with_the_seed_description(tokenizer):
    pairs = training_pairs([TASK], [selected("    return 1", 3), selected("    return 2", 0)],
                           Targets(BasePrompts(tokenizer)), None, train_on_references=True)  # fmt: skip
    assert (pairs.num_selected, pairs.num_references) == (3, 0)
    assert all("Sum of xs." in tokenizer.decode(pair.input_ids) for pair in pairs.pairs)


def test_references_come_once_each_and_only_if_asked(tokenizer):
    from dataclasses import replace

    tasks = [
        replace(TASK, reference="def solve(xs):\n    return sum(xs)"),
        replace(TASK, task_id="u", reference="def other(xs):\n    return 1"),
    ]
    pairs = training_pairs(tasks, [], Targets(BasePrompts(tokenizer)), None, train_on_references=True)
    assert (pairs.num_references, pairs.num_unfit, len(pairs.pairs)) == (1, 1, 1)
    assert training_pairs(tasks, [], Targets(BasePrompts(tokenizer)), None, train_on_references=False).pairs == []


def test_no_pair_is_truncated_or_all_masked(tokenizer):
    """A pair that does not fit is left out and counted: never a cut code, never labels that are all masked."""
    prompts = BasePrompts(tokenizer)
    codes = [selected("    return 1", 2), selected("    return " + "1 + " * 50 + "1", 3)]
    whole = make_pair(TASK, "    return 1", prompts)
    for max_length in (len(whole.input_ids), len(whole.input_ids) - 1, 3):
        pairs = training_pairs([TASK], codes, Targets(prompts), max_length, train_on_references=True)
        fits = max_length >= len(whole.input_ids)
        assert (len(pairs.pairs), pairs.num_too_long) == ((2, 3) if fits else (0, 5))
        for pair in pairs.pairs:
            assert pair == whole
            assert any(label != IGNORED for label in pair.labels)


def test_codes_of_other_tasks_are_left_out(tokenizer):
    pairs = training_pairs(
        [TASK], [selected("    return 1", 2, task_id="gone")], Targets(BasePrompts(tokenizer)), None, False
    )
    assert pairs.pairs == []


def test_targets_that_fail_are_not_learned(tokenizer):
    from dataclasses import replace

    prompts = BasePrompts(tokenizer)
    task = replace(TASK, reference="def solve(xs):\n    return sum(xs)")
    unfit = {("t", "    return sum(xs)"), ("t", "    return 1"), ("other", "    return 2")}
    drawn = [selected("    return 1", 3), selected("    return 2", 2)]
    pairs = training_pairs([task], drawn, Targets(prompts), None, train_on_references=True, unfit=unfit)
    assert pairs.pairs == [make_pair(task, "    return 2", prompts)] * 2
    assert (pairs.num_references, pairs.num_selected, pairs.num_unfit) == (0, 2, 1 + 3)
