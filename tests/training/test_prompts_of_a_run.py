"""A run asks its model in one way from its start to its end, on whatever day it is resumed."""

from __future__ import annotations

import datetime
import json

import pytest

from tests.support.models import make_model
from tests.support.prompts import CHATML
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import SMALL, training_tasks
from trl_gift import GiFTConfig, GiFTTrainer, trainer
from trl_gift.errors import ConfigError, ResumeError
from trl_gift.sandbox import Outcome, Status

DATED = "Today is {{ strftime_now('%d %b %Y') }}.\n" + CHATML


@pytest.fixture
def make(tmp_path, chat_tokenizer_factory, monkeypatch):
    def make(day=1, template=DATED, **options):
        class Day(datetime.date):
            @classmethod
            def today(cls):
                return cls(2026, 1, day)

        monkeypatch.setattr(trainer.datetime, "date", Day)
        tokenizer = chat_tokenizer_factory(template, "<|im_end|>")
        return GiFTTrainer(
            model=make_model(tokenizer),
            args=GiFTConfig(str(tmp_path / "out"), **SMALL | {"num_rounds": 1, "prompt_format": "chat"} | options),
            train_dataset=training_tasks(),
            processing_class=tokenizer,
            sandbox=InstantSandbox(lambda program, tests: Outcome(Status.FAILED)),
        )

    return make


def asked(run):
    (task, *_) = run.tasks
    return run.prompts.write(task, task.description).text


def test_the_date_is_that_of_the_start(make, tmp_path):
    first = make(day=1)
    assert asked(first).startswith("Today is 01 Jan 2026.")
    first.sample()
    recorded = json.loads((tmp_path / "out/_gift/run.json").read_text())
    assert recorded["options"]["prompt_date"] == "2026-01-01"
    later = make(day=2)
    assert asked(later) == asked(first)
    later.sample(resume_from_checkpoint=True)


def test_prompts_that_have_changed_are_refused(make):
    make(template=CHATML).sample()
    with pytest.raises(ResumeError, match=r"asked in other words now .* same tokenizer, chat template"):
        make(template=CHATML.replace("user", "human").replace("{{ m.role }}", "{{ m.role }}:")).sample(True)


def test_prompt_date(make):
    assert asked(make(day=2, prompt_date="2025-12-31")).startswith("Today is 31 Dec 2025.")
    assert make(template=CHATML).args.prompt_date is None
    with pytest.raises(ConfigError, match="prompt_date='tomorrow' is not a date"):
        GiFTConfig("out", **SMALL, prompt_date="tomorrow")
