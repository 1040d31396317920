"""`trl-gift show`: what a person sees of a run in the terminal."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from tests.distillation.samples import sample
from tests.support.recorded_runs import RecordedRun, in_edits
from tests.support.tiny_runs import TinyRun, training_tasks
from trl_gift.cli.main import main
from trl_gift.cli.show import _worth_a_look, single, story
from trl_gift.sampling.records import REPAIR, SOLUTION
from trl_gift.sampling.store import read_samples


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    TinyRun(folder, tokenizer, measured=True, judge=lambda program, tests: len(program) % 2 == 0)
    return folder


def shown(capsys, *argv):
    assert main(["show", *map(str, argv)]) == 0
    return capsys.readouterr().out


def samples(folder):
    return [one for number in (1, 2) for one in read_samples(folder / f"_gift/round-{number}")]


def test_without_filters_it_is_the_table_the_outcomes_and_what_to_look_at_next(folder, capsys):
    text = shown(capsys, folder)
    assert text == shown(capsys, folder / "_gift")
    assert "4 tasks, sampler gibbs" in text
    assert "round 2" in text
    for number in (1, 2):
        passed = sum(one.passed for one in read_samples(folder / f"_gift/round-{number}"))
        assert f"{passed} passed" in next(
            line for line in text.splitlines() if line.startswith(f"round {number}, 24 samples:")
        )
    commands = [line[line.index("trl-gift ") :] for line in text.partition("Next:\n")[2].splitlines()]
    assert len(commands) == 4, "three samples, a chain, every sample, the page"
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize(
    ("passes", "status"), [(lambda *_: True, "passed"), (lambda program, _: len(program) % 2 == 0, "failed")]
)
def test_only_statuses_that_samples_have_are_suggested(passes, status, tokenizer, tmp_path, capsys):
    TinyRun(tmp_path, tokenizer, judge=passes, num_rounds=1, num_steps=1)
    text = shown(capsys, tmp_path)
    (line,) = [line for line in text.splitlines() if "--status" in line]
    title, _, command = line.partition("trl-gift show ")
    assert title.strip() == f"three samples: {status}"
    assert command.split()[1:] == ["--status", status, "--limit", "3"]
    assert f"] {status}, " in shown(capsys, *command.split())


def test_what_did_not_pass_is_worth_a_look_first():
    assert _worth_a_look(Counter(passed=9, no_code=5, failed=1)) == "failed"
    assert _worth_a_look(Counter(passed=9, no_code=5, error=7)) == "error"
    assert _worth_a_look(Counter(passed=9)) == "passed"


def test_one_is_not_several(tokenizer, tmp_path, capsys):
    TinyRun(tmp_path, tokenizer, num_rounds=1, num_steps=1, tasks=training_tasks()[:1])
    assert ", 1 task, sampler" in shown(capsys, tmp_path)
    assert main(["show", str(tmp_path), "--round", "2"]) == 2
    assert "the run has 1 sampled round; give" in capsys.readouterr().err


def test_a_task_is_a_story_with_every_step_and_sample(folder, capsys):
    text = shown(capsys, folder, "--task", "s1", "--round", "1")
    own = [one for one in read_samples(folder / "_gift/round-1") if one.task_id == "s1"]
    assert text.count("== s1, round 1, step ") == 2
    assert "step 0: the task's own words" in text
    assert text.count("the chain goes on from here") == sum(one.continues for one in own)
    assert sum(line.startswith("[") for line in text.splitlines()) == len(own)


def test_filters_and_limits(folder, capsys):
    every = samples(folder)
    failed = [one for one in every if one.status == "failed"]
    assert failed
    lines = shown(capsys, folder, "--status", "failed", "--json").splitlines()
    assert [json.loads(line)["sample_id"] for line in lines] == [one.sample_id for one in failed]
    assert json.loads(lines[0]) == failed[0].to_record() | {"token_ids": list(failed[0].token_ids)}
    assert len(shown(capsys, folder, "--limit", 3, "--json").splitlines()) == 3
    listing = shown(capsys, folder, "--round", 2, "--status", "failed", "passed", "--limit", 2)
    wanted = [one.sample_id for one in every if one.round == 2][:2]
    assert [line[3:] for line in listing.splitlines() if line.startswith("== ")] == wanted
    assert "no sample of" in shown(capsys, folder, "--status", "memory")
    assert shown(capsys, folder, "--status", "memory", "--json") == ""


def test_what_steers_a_terminal_is_not_printed(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run/_gift/round-1/samples.parquet").unlink()
    path = tmp_path / "run/_gift/round-1/samples-0.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line |= {"description": "a \x1b[2J\x07b", "code": "\x1b]0;title\x07", "completion": "\x9b31m"}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    text = shown(capsys, tmp_path / "run", "--round", 1, "--status", "passed", "failed")
    assert "a \ufffd[2J\ufffdb" in text
    assert not {"\x1b", "\x07", "\x9b"} & set(text)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere"], "'nowhere' does not exist; give the output_dir of a run."),
        (["."], "'.' holds no run (no _gift/run.json); give the output_dir of a run."),
        (["RUN", "--round", "9"], "--round 9: the run has 2 sampled rounds; give one of these."),
        (["RUN", "--round", "0"], "--round 0"),
        (["RUN", "--status", "wrong"], "--status wrong: no such status; use one of passed, failed, error"),
    ],
)
def test_mistakes_are_one_line(argv, words, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["show", *(str(folder) if item == "RUN" else item for item in argv)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_it_needs_no_torch(folder):
    code = (
        "import sys; from trl_gift.cli.main import main; "
        f"assert main(['show', {str(folder)!r}]) == 0; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_task_that_the_run_does_not_have_is_a_mistake(capsys, folder, form):
    name = samples(folder)[0].task_id
    for given, hint in ((f"{name}x", f"did you mean {name}?"), ("nope", "the run has ")):
        assert main(["show", str(folder), "--task", given, *form]) == 2
        captured = capsys.readouterr()
        (line,) = captured.err.splitlines()
        assert line.startswith(f"trl-gift: --task {given!r}: the run has no sample of this task; ")
        assert hint in line
        assert captured.out == ""


def test_an_interrupted_run_says_how_far_it_is_and_how_it_goes_on(tokenizer, tmp_path, capsys):
    run = TinyRun(tmp_path, tokenizer, num_rounds=2, num_steps=1)
    for name in ("final.json", "round-2/metrics.json", "round-2/samples.parquet"):
        (tmp_path / "_gift" / name).unlink()
    record = json.loads((tmp_path / "_gift/run.json").read_text())
    (tmp_path / "_gift/run.json").write_text(json.dumps(record | {"command": ["train", "--config", "run.yaml"]}))
    del run
    (first,) = [line for line in shown(capsys, tmp_path).splitlines() if line.startswith("Not finished")]
    assert first.startswith("Not finished: 1 of 2 rounds is done; round 2 has ")
    assert first.endswith("; `trl-gift train --config run.yaml --resume` continues it.")


def test_a_program_in_edits_grows_edit_by_edit(tmp_path, capsys):
    program = "def add(a, b):\n    total = a + b\n    return total"
    run = RecordedRun(tasks=1, rounds=1, generations=8, program=lambda *_: program, write_text=in_edits)
    folder = run.write(tmp_path / "out")
    samples = list(read_samples(folder / "_gift/round-1"))
    one = next(sample for sample in samples if sample.passed)
    (line,) = [line for line in shown(capsys, folder).splitlines() if "--sample" in line]
    text = shown(capsys, *shlex.split(line.partition("trl-gift show ")[2]))
    assert f"== {one.sample_id}\n  > {one.description}\n[{one.index}] passed, " in text
    assert ", 4 tokens, in 3 edits\n\n" in text
    assert text.partition("in 3 edits\n\n")[2].splitlines() == [
        "edit 1 of 3", "    + def add(a, b):", "    +     pass", "",
        "edit 2 of 3", "      def add(a, b):", "    -     pass", "    +     total = a + b", "",
        "edit 3 of 3", "      def add(a, b):", "          total = a + b", "    +     return total",
    ]  # fmt: skip
    failed = next(sample for sample in samples if sample.status == "failed")
    assert f"    ! test 1: {failed.message}" in shown(capsys, folder, "--sample", failed.sample_id)
    whole = next(sample for sample in samples if sample.code is None)
    assert shown(capsys, folder, "--sample", whole.sample_id).endswith("    ! no code in the answer\n")
    assert main(["show", str(folder), "--sample", "1/no/0/0"]) == 2
    assert f"no such sample; give ROUND/TASK/STEP/INDEX, such as {samples[0].sample_id}." in capsys.readouterr().err
    recorded = json.loads(shown(capsys, folder, "--sample", one.sample_id, "--json"))
    assert recorded["sample_id"] == one.sample_id


def test_a_repair_says_what_it_repairs_and_who_wrote_it():
    one = replace(sample("t", 1, kind=REPAIR, parent="1/t/0/0"), model_hash="gpt", token_ids=())
    assert single(one).startswith("== 1/t/1/0: a repair of 1/t/0/0, by the teacher gpt\n")
    assert "step 1: a repair of 1/t/0/0, by the teacher gpt" in story([one])
    own = single(replace(one, token_ids=(1,), kind=SOLUTION, parent=None))
    assert own.startswith("== 1/t/1/0: a solution, by the model itself\n")


def test_malformed_edits_grow_as_far_as_they_fit(tmp_path, capsys):
    broken = in_edits("def add(a, b):\n    return a + b") + "\n@@ nonsense"
    run = RecordedRun(tasks=1, rounds=1, program=lambda *_: "x = 1", write_text=lambda _: broken)
    folder = run.write(tmp_path / "out")
    one = next(sample for sample in read_samples(folder / "_gift/round-1") if sample.code is not None)
    text = shown(capsys, folder, "--sample", one.sample_id)
    assert "edit 1 of 1\n    + def add(a, b):\n    +     pass\n" in text
    assert "! malformed: edit 2, line 7: '@@ nonsense' is not a header" in text
