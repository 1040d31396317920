"""Runs on disk that were never run: records of any size, with texts of any kind, written as the trainer writes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from trl_gift import codetext
from trl_gift.evaluation import Attempt, Evaluation
from trl_gift.lintseq import DIFF_TOKEN
from trl_gift.run.folder import RunFolder
from trl_gift.run.samples import read_rounds
from trl_gift.run.summary import summarise
from trl_gift.sampling.records import NO_CODE, PASSED, CodeSample
from trl_gift.sampling.store import SampleStore, write_parquet
from trl_gift.training.pairs import TrainingPairs
from trl_gift.training.selection import SelectionSettings, select, write_selection

STATUSES = ("passed", "failed", "error", "timeout", "memory", "violation", "syntax_error", "no_code", "copied")


def number_of(*names):
    """A number that depends on the names alone."""
    return int.from_bytes(hashlib.blake2b(repr(names).encode(), digest_size=4).digest(), "big")


@dataclass
class RecordedRun:
    """What a run is to look like.

    Attributes:
        tasks: Number of tasks.
        rounds: Number of finished rounds.
        steps: Steps of a chain.
        generations: Samples of a step.
        measured: Number of evaluation tasks.
        verify: Whether its samples were executed.
        keeps_base: Whether the base model's programs are kept, and not only its verdicts.
        describe: Gives the description of a task's step.
        program: Gives the program of a sample.
        write_text: Gives the completion that writes a program.
        message: Gives the message of a failing program.
        task_id: Gives the name of a task.
    """

    tasks: int = 4
    rounds: int = 2
    steps: int = 3
    generations: int = 3
    measured: int = 6
    verify: bool = True
    keeps_base: bool = True
    options: dict = field(default_factory=dict)
    describe: object = lambda task, step: f"Add {task} and {step}."
    program: object = lambda task, step, index: (
        f"def add(a, b):\n    return a + b + {number_of(task, step, index) % 7}\n"
    )
    write_text: object = lambda program: program
    message: object = lambda status: f"assert add(1, 2) == 3 [{status}]"
    task_id: object = lambda task: f"tasks/{task:05d}"

    def write(self, output_dir):
        """Writes the run and returns its folder."""
        run = RunFolder(output_dir)
        options = {
            "num_rounds": self.rounds, "sampler": "gibbs", "verify": self.verify, "num_steps": self.steps,
            "temperature": 1.0,
        } | self.options  # fmt: skip
        run.start(
            {
                "options": options, "seeds": {"seed": 1, "samples_seed": 1}, "training": {}, "model": "tiny/model",
                "tasks": {"count": self.tasks, "fingerprint": "0"},
                "eval_tasks": {"count": self.measured, "fingerprint": "0"}, "versions": {"trl_gift": "0"},
            }
        )  # fmt: skip
        base = self.evaluation(0)
        if self.measured:
            attempts = {"attempts": [attempt.to_record() for attempt in base.attempts]} if self.keeps_base else {}
            run.write("base.json", {"metrics": base.metrics(), "convention": "", "greedy": base.greedy} | attempts)
        for number in range(1, self.rounds + 1):
            self.write_round(run, number, base)
        return run.root.parent

    def write_round(self, run, number, base):
        """Writes one finished round."""
        folders = [run.round(index) for index in range(1, number + 1)]
        with SampleStore(folders[-1]) as store:
            for task in range(self.tasks):
                for sample in self.chain(number, task):
                    store.append(sample)
        write_parquet(folders[-1])
        samples = read_rounds(folders)
        selected = select(samples.eligible, SelectionSettings(seed=1, round=number))
        write_selection(folders[-1] / "selection.parquet", selected)
        summary = summarise(number, samples, selected, TrainingPairs([], 0, 0, 0, 0), self.tasks)
        if self.measured:
            result = self.evaluation(number)
            summary = summary.with_evaluations({"": result}, {"greedy": base.greedy})
            attempts = [attempt.to_record() for attempt in result.attempts]
            run.write(f"round-{number}/evaluation.json", {"attempts": attempts})
        record = summary.to_record() | {"seconds": {"sampling": 61.5, "training": 30.0, "total": 95.0}}
        run.write(f"round-{number}/metrics.json", record)

    def chain(self, number, task):
        """The samples of a task, by step and index; the chain continues from the first that passes."""
        parent = None
        for step in range(self.steps):
            samples = [self.sample(number, task, step, index, parent) for index in range(self.generations)]
            first = next((one.index for one in samples if one.eligible), None)
            for one in samples:
                if one.index == first:
                    one = CodeSample.from_record(one.to_record() | {"continues": True})
                    parent = one.sample_id
                yield one

    def sample(self, number, task, step, index, parent):
        status = self.status(number, task, step, index)
        program = None if status == NO_CODE else self.program(task, step, index)
        draw = number_of(number, task, step, index, "perplexity") % 1000 / 1000
        return CodeSample(
            task_id=self.task_id(task), round=number, step=step, index=index, parent=parent, sampler="gibbs", hint=None,
            description=self.describe(task, step if parent else 0), description_tokens=5 if parent else 0,
            description_tries=1 if parent else 0, description_leaks=0, read_reference=False, prompt_hash="0" * 16,
            completion=self.write_text(program) if program else "I cannot.", code=program, target=program,
            no_code_kind=None if program else codetext.NO_CODE, no_code_reason=None if program else "no code in the answer",
            token_ids=(5, 6, 7, 0), finish_reason="eos",
            logprob_sum=-4 * (0.05 + draw), num_scored=4, scored=False, status=status, outcome=self.outcome(status),
            continues=False, model_hash="0" * 16, seed=1, created=1.7e9,
        )  # fmt: skip

    def status(self, number, task, step, index):
        if not self.verify:
            return "unverified"
        draw = number_of(number, task, step, index) % 100
        return PASSED if draw < 30 + 10 * number else STATUSES[1 + draw % (len(STATUSES) - 1)]

    def outcome(self, status):
        if status in (NO_CODE, "unverified"):
            return None
        message = "" if status in (PASSED, "copied") else self.message(status)
        return {
            "status": status, "results": [], "first_failure": 0 if message else None, "message": message,
            "stdout_tail": "", "cpu_s": 0.01, "wall_s": 0.01, "peak_memory_mb": 12.0, "isolation": "seccomp",
            "trusted": True, "attempts": 1,
        }  # fmt: skip

    def evaluation(self, number):
        """The evaluation after a round, or with 0 that of the base model."""
        attempts = []
        for task in range(self.measured):
            passed = number_of(number, task, "measured") % 2
            reason = {} if passed else {"message": self.message("failed"), "failing_test": "assert one() == 1"}
            program = f"def one():\n    return {number}"
            status = "passed" if passed else "failed"
            attempts.append(Attempt(f"measured/{task}", -1, self.write_text(program), program, status, **reason))
        return Evaluation(tuple(attempts), ())


def in_edits(program):
    """A completion that writes a program in edits: a first line too many, which the second edit takes away; then line by line."""
    first, *rest = program.split("\n")
    edits = [f"@@ -0,0 +1,2 @@\n+{first}\n+    pass"]
    if rest:
        edits.append(f"@@ -2 +2 @@\n-    pass\n+{rest[0]}")
    edits += [f"@@ -{number},0 +{number + 1} @@\n+{line}" for number, line in enumerate(rest[1:], 2)]
    return "".join(f"\n{DIFF_TOKEN}{edit}" for edit in edits)


HOSTILE = (
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    # Without an angle bracket at its end: escaping only that one would not help.
    "</script <img src=x onerror=document.title='owned' ",
    "<!--<script ",
    "]]> \u2028 \u2029 \\u003c \\ \" ' &lt; &amp; \x00 \x1b",
    "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "\U0001f600 é 中",
)


def hostile_run():
    """Every text that a model or a data set may have written is an attack."""
    pick = lambda *place: HOSTILE[sum(place) % len(HOSTILE)]  # noqa: E731
    return RecordedRun(
        tasks=len(HOSTILE),
        describe=lambda task, step: pick(task, step),
        program=lambda task, step, index: f"x = {pick(task, step, index)!r}\n# {pick(task, index)}",
        message=lambda status: pick(len(status)),
        task_id=lambda task: pick(task),
    )
