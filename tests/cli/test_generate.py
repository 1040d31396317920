"""`trl-gift generate`: a trained model writes a program, asked as in its training, and the sandbox tries it."""

from __future__ import annotations

import json

import pytest

from tests.support.trained import make_adapter, make_run, playground
from trl_gift import GiFTConfig
from trl_gift.cli.generate import _tests as read_given
from trl_gift.cli.generate import _verdict
from trl_gift.cli.main import main
from trl_gift.errors import ConfigError
from trl_gift.inference import generate
from trl_gift.inference.generating import make_task
from trl_gift.playground import model_path, playground_tasks
from trl_gift.sandbox import LocalSandbox

(EASY,) = playground_tasks("test", 1)  # the embedded model solves it greedily
SIGNED = [EASY.description, "--signature", EASY.signature, "--max_completion_length", "64"]
ASSERTIONS = EASY.tests.text.splitlines()


@pytest.fixture
def call(capsys):
    """The command: exit code, standard output, last line of standard error."""

    def run(*arguments):
        code = main(["generate", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.strip().splitlines()[-1]

    return run


def test_a_program_on_standard_output(call):
    code, out, verdict = call("playground", *SIGNED)
    assert code == 0
    assert out.startswith("def solve(ws):\n")
    compile(out, "program", "exec")
    assert verdict.endswith("not run; give --tests to run it")
    assert call("playground", *SIGNED)[1] == out, "greedy by default"


def test_it_is_run_on_tests(call, tmp_path):
    (tmp_path / "tests.py").write_text("\n".join(ASSERTIONS[1:]))
    code, out, verdict = call("playground", *SIGNED, "--tests", ASSERTIONS[0], tmp_path / "tests.py")
    assert (code, verdict) == (0, "passed: the program passes all tests")
    code, again, verdict = call("playground", *SIGNED, "--tests", "assert solve(['a']) == -1")
    assert (code, again) == (1, out), "the program is shown, and the exit code says that it fails"
    assert verdict.startswith("failed: ")
    assert verdict.count("assert solve(['a']) == -1") == 1


def test_the_first_that_passes(call):
    wrong = [EASY.description, "--signature", EASY.signature, "--max_completion_length", "64", "--json"]
    code, out, _ = call("playground", *wrong, "-n", 6, "--temperature", 1, "--tests", *ASSERTIONS)
    record = json.loads(out)
    statuses = [program["status"] for program in record["programs"]]
    assert len(statuses) == 6
    assert (code, record["status"]) == ((0, "passed") if "passed" in statuses else (1, record["status"]))
    if code == 0:
        assert record["tried"] == statuses.index("passed") + 1
        assert record["program"] == record["programs"][record["tried"] - 1]["program"]
    code, out, verdict = call("playground", *SIGNED, "-n", 3, "--tests", "assert solve(['a']) == -1")
    assert code == 1
    assert "none of 3 programs passes; the one that is shown: " in verdict


@pytest.mark.parametrize(
    ("message", "end"),
    [
        ("assert f(1) == 2 [f(1) returned 1]", "assert f(1) == 2 [f(1) returned 1]"),
        ("assert f(1)\n  == 2", "assert f(1)\n  == 2"),
        ("took more than 5 s", "took more than 5 s (assert f(1) == 2)"),
        ("", " (assert f(1) == 2)"),
    ],
)
def test_the_failing_test_is_named_once(message, end):
    record = {"tried": 1, "programs": [{}], "status": "failed", "message": message, "failing_test": "assert f(1) == 2"}
    assert _verdict(record) == f"failed: {end}"


def test_several_without_tests_are_all_shown(call):
    code, out, _ = call("playground", *SIGNED, "-n", 3)
    assert code == 0
    assert out.count("def solve(ws):") == 3


def test_a_run_is_asked_as_it_asked_itself(call, tmp_path, capsys):
    make_run(tmp_path / "out", num_train_epochs=1)
    capsys.readouterr()
    code, out, _ = call(
        tmp_path / "out", EASY.description, "--signature", EASY.signature, "--json", "--tests", *ASSERTIONS
    )
    record = json.loads(out)
    assert record["measured"]["run"] == str(tmp_path / "out")
    kept = json.loads((tmp_path / "out/_gift/round-1/evaluation.json").read_text())["attempts"]
    (attempt,) = (attempt for attempt in kept if attempt["task_id"] == EASY.task_id)
    assert (record["program"], record["status"]) == (attempt["code"], attempt["status"])
    assert code == (0 if attempt["status"] == "passed" else 1)


def test_an_adapter_and_a_model_in_memory(tmp_path):
    adapted, (_, tokenizer) = make_adapter(tmp_path / "adapter"), playground()
    args = GiFTConfig(
        "unused", use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, max_completion_length=64
    )
    given = {"description": EASY.description, "signature": EASY.signature, "args": args}
    loaded = generate(tmp_path / "adapter", num_generations=2, **given)
    assert loaded == generate(adapted, processing_class=tokenizer, num_generations=2, **given)
    assert loaded[:1] != generate(model_path(), **given)
    assert [attempt.index for attempt in loaded] == [-1, 0], "the first is greedy"
    assert [attempt.index for attempt in generate(model_path(), temperature=0.5, **given)] == [0]
    (whole,) = generate(model_path(), EASY.description, args=args)
    assert whole.status in ("unverified", "no_code")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["playground"], "the following arguments are required: description"),
        (["playground", " "], "the description is empty; say in words what the program should do"),
        (["playground", "x", "-n", "0"], "-n 0: must be at least 1"),
        (["playground", "x", "--temperature", "-1"], "--temperature -1: must be at least 0"),
        (["playground", "x", "--temperature", "0", "-n", "2"], "greedy decoding writes the same program 2 times"),
        (["playground", "x", "--signature", "solve(xs)"], "--signature 'solve(xs)' is not the start of a function"),
        (["playground", "x", "--tests", "absent.py"], "--tests absent.py: no such file; check the path"),
        (
            ["playground", "x", "--tests", "solve(1"],
            "the tests: field 'tests': 'solve(1': must be Python source such as 'assert add(1, 2) == 3'",
        ),
        (
            ["playground", "x", "--tests", "y = 1"],
            "'y = 1': the assertions call no function that could be the tested one",
        ),
        (["playground", "x", "--test", "y"], "--test is not an option of `trl-gift generate`; did you mean --tests?"),
        (["./absent", "x"], "'./absent' does not exist; check the path"),
        (["nobody/no-such-model", "x"], "'nobody/no-such-model' is no folder here, is not in the cache, and"),
    ],
)
def test_mistakes_are_one_line(capfd, arguments, message):
    assert main(["generate", *arguments]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("trl-gift: ")
    assert message in line


def test_mistakes_of_a_call():
    with pytest.raises(ConfigError, match="num_generations=0 is out of range"):
        generate(model_path(), "x", num_generations=0)
    with pytest.raises(ConfigError, match="temperature=-1 is out of range"):
        generate(model_path(), "x", temperature=-1)


def test_a_part_of_a_program_is_no_program(capsys):
    """Without a signature a base model of functions writes a body."""
    assert main(["generate", "playground", "Sum of the squares of xs.", "--use_cpu"]) == 1
    printed = capsys.readouterr()
    assert printed.out.strip() == ""
    assert "what the model wrote is not a whole program; give --signature" in printed.err


CASES = {"entry_point": "solve", "inputs": [[[1]]], "outputs": [[2]]}


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (["assert solve([1]) == [2]", "assert solve([2]) == [3]"], "assert"),
        (["def test_one():\n    assert solve([1]) == [2]\n"], "assert"),
        (["test_solve.py"], "assert"),
        ([">>> solve([1])\n[2]\n"], "assert"),
        ([json.dumps(CASES)], "call"),
        (["cases.json"], "call"),
        ([json.dumps({"stdin": ["1"], "stdout": ["2"]})], "stdio"),
    ],
)
def test_tests_take_the_forms_that_tasks_take(tmp_path, monkeypatch, given, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases.json").write_text(json.dumps(CASES))
    (tmp_path / "test_solve.py").write_text(
        "import pytest\n\n@pytest.mark.parametrize('x, y', [([1], [2]), ([2], [3])])\n"
        "def test_solve(x, y):\n    assert solve(x) == y\n"
    )
    signature = None if kind == "stdio" else "def solve(xs):"
    task = make_task("Add one to each.", signature, read_given(given))
    assert task.tests.kind == kind
    if kind != "stdio":
        assert task.tests.entry_point == "solve"
        with LocalSandbox(num_workers=1) as sandbox:
            assert sandbox.run("def solve(xs):\n    return [x + 1 for x in xs]", task.tests).passed
            assert not sandbox.run("def solve(xs):\n    return xs", task.tests).passed
