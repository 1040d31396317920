from __future__ import annotations

import json
from dataclasses import replace

import pyarrow.parquet
import pytest

from tests.support.worlds import TableEngine, joint_world, make_task, sample
from trl_gift.run.samples import ends_of_chains, read_rounds
from trl_gift.sampling.records import CodeSample
from trl_gift.sampling.store import SampleIndex, SampleStore, is_complete, read_samples, write_parquet

WRITE, READ, _ = joint_world(3, 4, 0.5)


@pytest.fixture(scope="module")
def samples():
    drawn = sample([make_task("a"), make_task("b")], TableEngine(WRITE, READ), num_steps=2)
    return sorted(drawn, key=lambda one: (one.task_id, one.step, one.index))


def test_a_sample_survives_its_record(samples):
    for one in samples:
        assert CodeSample.from_record(json.loads(json.dumps(one.to_record()))) == one


def test_another_schema_is_refused(samples):
    with pytest.raises(ValueError, match="schema 99"):
        CodeSample.from_record(samples[0].to_record() | {"schema": 99})


def test_every_torn_end_is_owed_again(tmp_path, samples):
    """Cut the file at every byte of its last two lines: whole lines stay, the torn one goes, writing goes on."""
    with SampleStore(tmp_path) as store:
        for one in samples[:3]:
            store.append(one)
    path = tmp_path / "samples-0.jsonl"
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for cut in range(ends[0], len(content) + 1, 7):
        path.write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)
        assert list(read_samples(tmp_path)) == samples[:whole]
        with SampleStore(tmp_path) as store:
            store.append(samples[whole])
        assert list(read_samples(tmp_path)) == samples[: whole + 1]


def test_a_file_that_is_one_torn_line(tmp_path, samples):
    (tmp_path / "samples-0.jsonl").write_bytes(b"{" + b"x" * 200_000)
    with SampleStore(tmp_path) as store:
        store.append(samples[0])
    assert list(read_samples(tmp_path)) == samples[:1]


def test_ranks_write_apart_and_are_read_together(tmp_path, samples):
    for rank in range(2):
        with SampleStore(tmp_path, rank) as store:
            for one in samples[rank::2]:
                store.append(one)
            store.append(samples[0])  # twice: counts once
    assert list(read_samples(tmp_path)) == samples, "each once, in the order of the chains"
    with SampleIndex(tmp_path) as index:
        assert len(index) == len(samples)
        assert [index.count(name) for name in ("a", "b", "c")] == [6, 6, 0]
        assert index.step("b", 1) == [one for one in samples if (one.task_id, one.step) == ("b", 1)]
        assert index.step("b", 7) == []


def test_reading_counts_the_latest_round_and_keeps_all_passing(tmp_path, samples):
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders):
        with SampleStore(folder) as store:
            for one in samples[: 6 * (number + 1)]:
                status = "passed" if one.index == 0 else "failed"
                store.append(replace(one, round=number + 1, status=status, description_tokens=5))
    found = read_rounds(folders)
    assert (found.samples, found.passed, found.no_code) == (12, 4, 0)
    assert found.tokens == 12 * 1 + 4 * 5, "one token a code, five a description, one description a step"
    assert [(one.round, one.step) for one in found.eligible["a"]] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert found.distinct_programs == len({one.code for one in found.eligible["a"]}) + len(
        {one.code for one in found.eligible["b"]}
    )
    assert read_rounds(folders[:1]).samples == 6


def test_of_two_lines_for_one_sample_the_first_counts(tmp_path, samples):
    """A chain has continued from the first; a later line may be another process's."""
    with SampleStore(tmp_path) as store:
        store.append(samples[0])
        store.append(replace(samples[0], code="another"))
    assert list(read_samples(tmp_path)) == [samples[0]]


def test_a_chain_ends_at_the_last_program_that_continued_it(tmp_path, samples):
    """Of the latest round in which one did; what merely passed does not count."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders, 1):
        with SampleStore(folder) as store:
            for one in samples:
                continues = one.index == 1 and (one.task_id, number) != ("b", 2)
                store.append(replace(one, round=number, status="passed", continues=continues))
    last = max(one.step for one in samples)
    assert last > 0
    ends = {task_id: (one.round, one.step, one.index) for task_id, one in ends_of_chains(folders).items()}
    assert ends == {"a": (2, last, 1), "b": (1, last, 1)}


def test_unverified_codes_are_eligible_and_solve_nothing(tmp_path, samples):
    with SampleStore(tmp_path) as store:
        for one in samples[:4]:
            store.append(replace(one, status="unverified", outcome=None))
        store.append(replace(samples[4], status="no_code", code=None))
    found = read_rounds([tmp_path])
    assert (found.samples, found.passed, found.unverified, found.no_code) == (5, 0, 4, 1)
    assert sum(map(len, found.eligible.values())) == 4
    assert found.solved_tasks == 0


def test_infrastructure_failures_are_taken_again(tmp_path, samples):
    with SampleStore(tmp_path) as store:
        store.append(replace(samples[0], status="infrastructure"))
        store.append(samples[1])
    assert list(read_samples(tmp_path)) == [samples[1]]


def test_compaction_is_whole_and_complete(tmp_path, samples):
    with SampleStore(tmp_path) as store:
        for one in samples:
            store.append(one)
    assert not is_complete(tmp_path)
    path = write_parquet(tmp_path)
    assert is_complete(tmp_path)
    table = pyarrow.parquet.read_table(path).to_pylist()
    assert {row["sample_id"] for row in table} == {one.sample_id for one in samples}
    by_id = {one.sample_id: one for one in samples}
    for row in table:
        one = by_id[row["sample_id"]]
        assert row["perplexity"] == one.perplexity
        assert json.loads(row["outcome"]) == json.loads(json.dumps(one.outcome))
        assert tuple(row["token_ids"]) == one.token_ids
    assert not list(tmp_path.glob("*.tmp"))


def test_compaction_of_nothing(tmp_path):
    SampleStore(tmp_path).close()
    assert pyarrow.parquet.read_table(write_parquet(tmp_path)).num_rows == 0
