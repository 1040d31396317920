"""Overlap between tasks, the tasks that are left out, and their record; as exact as comparing every pair."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import rows
from trl_gift.errors import TaskError
from trl_gift.playground import playground_tasks
from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task, tasks_from_rows
from trl_gift.tasks.decontamination import CleaningSettings, clean
from trl_gift.tasks.overlap import find_near_duplicates, find_overlaps, ngrams

LONG = (
    "Given a list of whole numbers, return the largest sum of any run of neighbours in it, where the run may be empty "
    "and then has the sum zero, and the list may hold numbers below zero."
)
CODE = "def f(xs):\n    best = run = 0\n    for x in xs:\n        run = max(0, run + x)\n        best = max(best, run)\n    return best"
RENAMED = "from typing import List\ndef g(values: List[int]) -> int:\n    '''Doc.'''\n    a = b = 0\n    for v in values:\n        b = max(0, b + v)\n        a = max(a, b)\n    return a"


def task(task_id, description, reference=None):
    return Task(task_id, description, AssertTests("assert f([1]) == 1", entry_point="f"), "def f(xs):", reference)


def matches(one, other, ngram=8, threshold=0.6):
    return find_overlaps([one], {"benchmark": [other]}, ngram, threshold)


@pytest.mark.parametrize(
    "copy",
    [
        LONG,
        LONG.upper().replace(",", " ;"),
        f"Solve the following problem in Python. {LONG} Print nothing.",
        LONG.replace("whole numbers", "integers"),
        f"{LONG}\n\n>>> f([1, -2, 3])\n3",
    ],
)
def test_copies_overlap(copy):
    (found,) = matches(task("a", copy), task("b", LONG))
    assert (found.task_id, found.matched, found.source, found.reason) == ("a", "b", "benchmark", "description")
    assert 0.6 <= found.share <= 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LONG, "Given a list of whole numbers, return the largest of them, or None if the list is empty."),
        ("Write a function to sort the given list.", "Write a function to sort the given list of pairs by the last."),
        ("Find the sum.", "Find the product."),
        ("...", "!!!"),
    ],
)
def test_different_tasks_do_not_overlap(one, other):
    assert matches(task("a", one), task("b", other)) == []
    assert matches(task("b", other), task("a", one)) == []


def test_a_text_inside_a_longer_one_is_an_overlap():
    """The share is that of the shorter description."""
    longer = f"{' '.join(f'word{number}' for number in range(200))} {LONG}"
    for one, other in ((LONG, longer), (longer, LONG)):
        (found,) = matches(task("a", one), task("b", other))
        assert found.share == 1.0


def test_short_descriptions_overlap_when_they_are_equal():
    assert matches(task("a", "Sort the list!"), task("b", "sort the LIST"))


def test_references_that_differ_only_in_names_overlap():
    (found,) = matches(task("a", "One.", CODE), task("b", "Two.", RENAMED))
    assert found.reason == "code"
    assert matches(task("a", "One.", CODE), task("b", "Two.", CODE.replace("max(best", "min(best"))) == []
    tiny = "def f(xs):\n    return len(xs)"
    assert matches(task("a", "Count lists.", tiny), task("b", "Length of a text.", tiny)) == []
    broken = "def f(xs:"
    assert matches(task("a", "One.", broken), task("b", "Two.", broken)) == []


@pytest.mark.parametrize("count", [30, pytest.param(400, marks=pytest.mark.slow)])
def test_no_training_task_of_the_playground_overlaps_with_its_other_tasks(count):
    # By construction their intentions differ and their wordings do not; the default rule must distinguish them.
    measured = [*playground_tasks("test", count), *playground_tasks("validation", count)]
    cleaning = clean(playground_tasks("train", count), measured, CleaningSettings())
    assert cleaning.removed == ()
    assert cleaning.line() is None
    assert len(cleaning.kept) == count


def test_benchmark_files_and_the_record(tmp_path):
    path = str(tmp_path / "benchmark.jsonl")
    lines = [rows.HUMANEVAL, rows.HUMANEVAL | {"task_id": "broken", "prompt": ""}]
    (tmp_path / "benchmark.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (copied,) = tasks_from_rows([rows.HUMANEVAL])
    tasks = [replace(copied, task_id="copy"), task("eval copy", LONG), task("good", "Something else entirely.")]
    cleaning = clean(tasks, [task("measured", LONG)], CleaningSettings(against=(path,)))
    assert [item.task_id for item in cleaning.kept] == ["good"]
    record = json.loads(json.dumps(cleaning.record()))
    assert record["compared"] == {"eval_dataset": 1, path: 1}
    assert record["kept"] == 1
    assert record["settings"]["ngram"] == 8
    assert [(item["task_id"], item["matched"], item["source"]) for item in record["removed"]] == [
        ("copy", "HumanEval/900", path),
        ("eval copy", "measured", "eval_dataset"),
    ]
    assert cleaning.line() == (
        f"2 of 3 training tasks overlap and are left out: 1 with {path}, 1 with evaluation tasks (copy ~ HumanEval/900, eval copy ~ "
        "measured)."
    )
    off = clean(tasks, [task("measured", LONG)], CleaningSettings(decontaminate=False, against=(path,)))
    assert (len(off.kept), off.compared) == (3, {})


def test_nothing_left_is_an_error():
    with pytest.raises(
        TaskError, match=r"each of the training tasks \(1\) overlaps with evaluation tasks .*decontaminate=False"
    ):
        clean([task("a", LONG)], [task("a", LONG)], CleaningSettings())


def test_near_duplicates_keep_the_first():
    tasks = [task("a", LONG), task("b", LONG.replace("largest", "greatest")), task("c", "Another."), task("d", LONG)]
    cleaning = clean(tasks, [], CleaningSettings(near_duplicates=0.7))
    assert [item.task_id for item in cleaning.kept] == ["a", "c"]
    assert [(item.task_id, item.matched, item.source) for item in cleaning.removed] == [
        ("b", "a", "train_dataset"),
        ("d", "a", "train_dataset"),
    ]
    assert (
        cleaning.line()
        == "2 of 4 training tasks overlap and are left out: 2 with other training tasks (b ~ a, d ~ a)."
    )
    assert len(clean(tasks, [], CleaningSettings()).kept) == 4
    same_code = [task("a", "One.", CODE), task("b", "Two.", RENAMED)]
    assert [item.reason for item in find_near_duplicates(same_code, 0.9, "tasks")] == ["code"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join), min_size=1, max_size=12),
    st.sampled_from([0.3, 0.5, 0.75, 1.0]),
)
def test_the_index_finds_what_comparing_every_pair_finds(texts, threshold):
    tasks = [task(str(index), text) for index, text in enumerate(texts)]
    sets = [ngrams(text, 3) for text in texts]
    kept, gone = [], {}
    for index, grams in enumerate(sets):
        near = [(len(grams & sets[e]) / len(grams | sets[e]), -e) for e in kept if grams | sets[e]]
        best = max(near, default=(0.0, 0))
        if best[0] >= threshold:
            gone[str(index)] = str(-best[1])
        else:
            kept.append(index)
    found = find_near_duplicates(tasks, threshold, "tasks")
    assert {item.task_id: item.matched for item in found} == gone


def test_a_share_that_reaches_the_threshold_is_an_overlap():
    """The least share that counts does count: of six 2-grams three are shared, or of five."""
    seed, measured = "one two three four five six seven", "one two three four 5 6 7"
    for threshold, is_overlap in ((0.5, True), (0.5 + 1e-9, False), (0.5 - 1e-9, True)):
        assert bool(matches(task("a", seed), task("b", measured), 2, threshold)) == is_overlap
        cleaning = clean(
            [task("a", seed), task("c", "Another.")],
            [task("b", measured)],
            CleaningSettings(ngram=2, threshold=threshold),
        )
        assert [item.task_id for item in cleaning.removed] == (["a"] if is_overlap else [])
    (found,) = matches(task("a", seed), task("b", measured), 2, 0.5)
    assert found.share == 0.5


def test_a_jaccard_index_that_reaches_the_threshold_is_a_near_duplicate():
    """Three of the nine 3-grams of both are shared."""
    one, two = "a b c d e f g h", "a b c d e 6 7 8"
    for threshold, is_near in ((1 / 3, True), (1 / 3 + 1e-9, False)):
        found = find_near_duplicates([task("a", one), task("b", two)], threshold, "seeds")
        assert [item.task_id for item in found] == (["b"] if is_near else [])


def test_a_reference_of_just_enough_nodes_is_compared():
    from trl_gift import codetext
    from trl_gift.tasks.overlap import LEAST_CODE_NODES

    nodes = 7  # Module, FunctionDef, arguments, arg, Return, Call without arguments, Name
    assert codetext.skeleton("def f(x):\n    return x()", nodes) is not None
    assert codetext.skeleton("def f(x):\n    return x()", nodes + 1) is None
    assert LEAST_CODE_NODES == 11
    eleven, fewer = "def f(x):\n    return x(x(x()))", "def f(x):\n    return x(x(1))"
    assert matches(task("a", "One.", eleven), task("b", "Two.", eleven))
    assert matches(task("a", "One.", fewer), task("b", "Two.", fewer)) == []


def test_the_number_of_words_in_a_row_is_that_of_the_settings():
    seeds = [task("a", "one two three four five"), task("b", "Another.")]
    measured = [task("m", "zero one two three four 5 six seven eight")]
    for ngram, removed in ((4, 1), (5, 0)):
        assert len(clean(seeds, measured, CleaningSettings(ngram=ngram, threshold=0.1)).removed) == removed
