"""What the cards say, for runs of every kind, without a Hub."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from dataclasses import replace

import datasets
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx

from trl_gift.hub import dataset_origin
from trl_gift.hub.facts import ModelFacts, RunFacts, round_facts, run_facts
from trl_gift.hub.files import lay_out_checkpoint, lay_out_model, make_public
from trl_gift.hub.licence import licence_of
from trl_gift.hub.model_card import model_card
from trl_gift.hub.names import hub_name
from trl_gift.hub.samples import PUBLISHED, WITHHELD
from trl_gift.hub.samples_card import SamplesFacts, samples_card
from trl_gift.playground import playground_tasks
from trl_gift.run.folder import RunFolder
from trl_gift.run.methods import Learned
from trl_gift.sampling.records import CodeSample
from trl_gift.tasks.decontamination import CleaningSettings, clean

TRL_CARD = """---
library_name: transformers
licence: license
tags: [generated_from_trainer, trl, 'base_model:adapter:/home/me/model']
---

# Model Card for out

This model is a fine-tuned version of [None](https://huggingface.co/None).

[<img src="https://x/badge.svg" alt="Visualize in Weights & Biases" width="150" height="24"/>](https://wandb.ai/run)

```bibtex
@software{vonwerra2020trl, title = {{TRL}}}
```
"""
MODEL = ModelFacts(
    name="out", repo_id="me/out", location="me/out", base_location="org/base", shows_task=False, base_model="org/base", base_text="the playground's model, a tiny one that comes with `trl_gift`",
    licence={"license": "apache-2.0"}, dataset="org/seeds", eval_dataset="org/measured", samples_repo=None,
    adapter=None, quantization=None, prompt="def add(a, b):\n", completion_length=96, training={"Seed": "1"}, programming_language="Python",
)  # fmt: skip
OPTIONS = {
    "num_rounds": 1, "sampler": "gibbs", "num_steps": 20, "num_generations": 3, "temperature": 1.0, "top_p": 1.0,
    "top_k": 0, "max_completion_length": 512, "description_temperature": 1.0, "description_top_p": 0.95,
    "max_description_length": 256, "execution_cpu_s": 5.0, "execution_memory_mb": 1024, "pool": "continuing",
    "num_selected": 8, "perplexity_weight": 2.0, "train_on_references": False, "restart_from_base": True,
    "accumulate_samples": True, "eval_num_generations": 10, "eval_temperature": 0.8,
}  # fmt: skip
ROUND = {
    "round": 1, "tasks": 200, "solved_tasks": 120, "samples": 12000, "passed": 3000, "no_code": 7, "distinct_programs": 900,
    "tokens": 1_000_000, "pairs": 960, "references": 0,
    "verdicts": {"isolation": {"landlock+seccomp": 11990}, "trusted": 11990},
    "metrics": {"num_tasks": 400.0, "pass@1": 0.632, "pass@1_low": 0.584, "pass@1_high": 0.678,
                "sampled_pass@10": 0.8, "sampled_pass@10_low": 0.75, "sampled_pass@10_high": 0.85},
    "gain": {"pass@1": 0.282, "low": 0.23, "high": 0.335},
}  # fmt: skip
BASE = {"num_tasks": 400.0, "pass@1": 0.35, "pass@1_low": 0.305, "pass@1_high": 0.398}
CONVENTION = "prompts for base models, at most 1 test shown, imports of the reference not shown"
RUN = RunFacts(OPTIONS, {"trl_gift": "0.1"}, 200, 400, BASE, (round_facts(ROUND),), convention=CONVENTION)


def card(model=MODEL, run=RUN):
    return str(model_card(ModelCard(TRL_CARD), model, run))


def metadata(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_states_the_results_with_their_intervals():
    text = card()
    assert "| base | 35.0% [30.5%, 39.8%] |" in text
    assert "| round 1 | 63.2% [58.4%, 67.8%] | 80.0% [75.0%, 85.0%] | +28.2 [+23.0, +33.5] |" in text
    assert "The model solves more of them than its base" in text
    assert "| 1 | 12,000 | 3,000 (25.0%) | 120 of 200 | 900 | 960 | 1,000,000 |" in text
    assert "11,990 programs were executed under `landlock+seccomp`" in text
    assert "400 tasks of [org/measured](https://huggingface.co/datasets/org/measured)" in text
    assert "No reference solution was trained on." in text
    assert f"The models were asked with {CONVENTION};" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("rounds", "changes", "says"),
    [
        ([(960, 0)], {}, "A fine-tuned version of {base}, trained on programs that it wrote itself and that passed tests: GiFT"),
        ([(960, 40)], {}, "wrote itself and that passed tests: GiFT"),
        ([(960, 0)], {"distillation": "repair", "teacher": "self"}, "programs that it wrote itself and that passed"),
        ([(960, 0)], {"distillation": "repair", "teacher": "org/strong"}, "programs that it or a teacher wrote and that passed"),
        ([(960, 0)], {"verify": False}, "trained on programs that it wrote itself and that nothing has checked: GiFT"),
        ([(40, 40)], {}, "trained on reference solutions alone and on no program that it wrote itself, in a run of GiFT"),
        ([(0, 0)], {}, "A copy of {base}, left untrained because there was nothing to train on, in a run of GiFT"),
        ([(960, 0), (0, 0)], {}, "wrote itself and that passed tests: GiFT"),
        ([(960, 0), (40, 40)], {}, "trained on reference solutions alone and"),
        ([(960, 0), (40, 40)], {"restart_from_base": False}, "wrote itself and that passed tests: GiFT"),
        ([], {}, "which is to be trained on programs that it writes itself and that pass tests: GiFT"),
    ],
)  # fmt: skip
def test_the_card_says_what_the_weights_were_trained_on(rounds, changes, says):
    facts = [
        round_facts({**ROUND, "round": number, "pairs": pairs, "references": references})
        for number, (pairs, references) in enumerate(rounds, 1)
    ]
    options = {**OPTIONS, "num_rounds": max(1, len(rounds)), **changes}
    text = card(run=replace(RUN, rounds=tuple(facts), options=options))
    assert says.format(base="[org/base](https://huggingface.co/org/base)") in text
    claims = "was also trained on 40 reference", "was trained on 40 reference"
    references = Learned.of(rounds, options["restart_from_base"]).references
    own = Learned.of(rounds, options["restart_from_base"]).own
    assert [claim in text for claim in claims] == [bool(references and own), bool(references and not own)]


def samples(**changes):
    facts = SamplesFacts("me/out-samples", "me/out", "org/base", "org/seeds")
    run = replace(RUN, piloted=0.6, **changes)
    return str(samples_card([Counter(passed=3)], facts, run, PUBLISHED, None))


def test_the_cards_say_who_wrote_the_programs():
    assert "The model sampled programs in a chain: it wrote" in card()
    drawn = card(run=replace(RUN, drawn_by="strong@0123"))
    assert "Another model sampled programs in a chain: it wrote" in drawn
    assert "The model sampled" not in drawn
    assert "Programs that a code model wrote while it trained itself. Each" in samples()
    assert "wrote for another one to learn from. Each" in samples(drawn_by="strong@0123")
    taught = OPTIONS | {"distillation": "repair", "teacher": "org/strong"}
    assert "Programs that several code models wrote for one model to learn from. Each" in samples(options=taught)


def test_the_card_of_the_samples_has_the_temperature_that_a_pilot_chose():
    assert "samples at temperature 0.6 and" in samples(options=OPTIONS | {"temperature": "auto"})
    assert "samples at temperature 1 and" in samples()


def test_the_weights_are_those_of_the_final_round():
    facts = tuple(
        round_facts({**ROUND, "round": number, "pairs": 40, "references": 40 * (number - 1)}) for number in (1, 2)
    )
    assert "reference solutions alone" in card(run=replace(RUN, rounds=facts, options={**OPTIONS, "num_rounds": 2}))
    kept = card(run=replace(RUN, rounds=facts, options={**OPTIONS, "num_rounds": 2}, final_round=1))
    assert "wrote itself and that passed tests: GiFT" in kept


def test_the_card_says_whether_the_run_looked_for_overlap():
    assert "did not check whether the training tasks overlap with these tasks" in card()
    assert "were left out before training: 3." in card(run=replace(RUN, overlapping=3))


def test_the_overlap_is_read_from_the_record_of_the_run(tmp_path):
    run = RunFolder(tmp_path)
    run.start({"options": {}, "versions": {}, "tasks": {"count": 2}, "eval_tasks": {"count": 1}})
    assert run_facts(run).overlapping is None
    seeds = playground_tasks("train", 2)
    for settings, expected in ((CleaningSettings(decontaminate=False), None), (CleaningSettings(), 1)):
        run.write("decontamination.json", clean(seeds, seeds[:1], settings).record())
        assert run_facts(run).overlapping == expected


def test_what_was_measured_is_in_the_metadata_too():
    (model,) = metadata(card())["model-index"]
    (result,) = model["results"]
    assert model["name"] == "out"
    assert result["dataset"] == {"type": "org/measured", "name": "measured"}
    assert result["metrics"] == [
        {"type": "pass@1", "value": 0.632, "name": "greedy pass@1"},
        {"type": "pass@10", "value": 0.8, "name": "sampled pass@10"},
    ]
    read = ModelCard(card()).data.eval_results
    assert [(item.metric_type, item.metric_value) for item in read] == [("pass@1", 0.632), ("pass@10", 0.8)]
    unnamed = metadata(card(replace(MODEL, eval_dataset=None)))
    assert "model-index" not in unnamed
    assert unnamed["model_name"] == "out"
    assert "model-index" not in metadata(card(run=replace(RUN, rounds=()))), "the figures of the base model"


def test_a_card_has_what_the_cards_of_trl_have():
    text = card()
    for part in (
        "[![model badge](https://img.shields.io/badge/All_models-GiFT-blue)](https://huggingface.co/models?other=gift,trl)",
        "[GiFT: Gibbs Fine-Tuning for Code Generation](https://huggingface.co/papers/2502.11466)",
        "## Quick start",
        "### Framework versions\n\n- trl_gift: 0.1\n",
        "## Citations",
        "li-etal-2025-gift",
    ):
        assert part in text
    assert len(re.findall(r"^```", text, re.MULTILINE)) % 2 == 0
    assert not re.search(r"\n\n\n|[{]%| [.,] ", text.split("## Citations")[0].split("---\n", 2)[2])


def test_what_trl_has_written_is_kept_where_it_is_true():
    text = card()
    assert "https://wandb.ai/run" in text
    assert "vonwerra2020trl" in text
    data = metadata(text)
    assert {"generated_from_trainer", "trl"} <= set(data["tags"])
    assert not [tag for tag in data["tags"] if tag.startswith("base_model")]
    assert "licence" not in data


@pytest.mark.parametrize(
    ("gain", "says"),
    [((-0.1, -0.2, -0.05), "solves fewer of them than its base"), ((0.02, -0.01, 0.05), "An improvement over the base is not shown")],
)  # fmt: skip
def test_the_card_does_not_praise(gain, says):
    changed = {**ROUND, "gain": dict(zip(("pass@1", "low", "high"), gain, strict=True))}
    assert says in card(run=replace(RUN, rounds=(round_facts(changed),)))


def test_verdicts_that_could_be_forged_are_counted():
    verdicts = {"isolation": {"landlock+seccomp": 60, "none": 40}, "trusted": 75}
    text = card(run=replace(RUN, rounds=(round_facts({**ROUND, "verdicts": verdicts}),)))
    assert "no isolation (40)" in text
    assert "75.0% of the verdicts" in text
    old = {name: value for name, value in ROUND.items() if name != "verdicts"}
    assert "is not on record" in card(run=replace(RUN, rounds=(round_facts(old),)))


def test_other_methods_are_not_called_gift():
    text = card(run=replace(RUN, options={**OPTIONS, "sampler": "conditional", "pool": "all"}))
    assert "rejection sampling fine-tuning, with" in text
    assert "Decoding of descriptions" not in text
    assert "all passing programs" in text
    text = card(run=replace(RUN, options={**OPTIONS, "verify": False, "num_selected": None}))
    assert "passed tests" not in text
    assert "nothing that was sampled for training was executed" in text


def test_every_field_of_a_sample_is_published_or_withheld_on_purpose():
    fields = {item.name for item in dataclasses.fields(CodeSample)}
    assert fields == (fields & set(PUBLISHED)) | WITHHELD, (
        "a new field: describe it in trl_gift.hub.samples, or withhold it"
    )
    assert not WITHHELD & set(PUBLISHED)


def test_the_card_of_an_unfinished_run_says_so():
    assert "no round of 3 has been finished" in card(run=replace(RUN, rounds=(), options={**OPTIONS, "num_rounds": 3}))
    assert "No training has been recorded" in card(run=None)
    nothing = {name: value for name, value in ROUND.items() if name not in ("metrics", "gain")}
    assert "Nothing was measured" in card(run=replace(RUN, base={}, rounds=(round_facts(nothing),), num_eval_tasks=0))


def test_an_adapter_of_a_local_quantised_base():
    text = card(
        replace(MODEL, adapter="LoRA, r = 4", base_model=None, licence={}, quantization="quantised to 4 bits (nf4)")
    )
    data = metadata(text)
    assert "base_model" not in data
    assert "license" not in data
    assert data["library_name"] == "peft"
    assert "A LoRA adapter for the playground's model, a tiny one that comes with `trl_gift`," in text
    assert 'PeftModel.from_pretrained(model, "me/out")' in text
    assert "No licence is stated" in text
    assert "Merge the adapter into unquantised weights only." in text


@pytest.mark.parametrize("prompt", ["a\\n'''b'''\n", "<|user|>\nx\\\\y'", "ends with a quote'", "x\n```\na\n```\n"])
def test_any_prompt_is_shown_as_it_is(prompt):
    marks, code = re.search(
        r"^(`{3,})python\n(.*?)^\1$", card(replace(MODEL, prompt=prompt)), re.DOTALL | re.MULTILINE
    ).groups()
    assert len(marks) == (4 if "```" in prompt else 3)
    start = code.index("prompt = ")
    seen = {}
    exec(code[start : code.index("inputs = ")], seen)
    assert seen["prompt"] == prompt


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ("Qwen/Qwen2.5-Coder-1.5B", "Qwen/Qwen2.5-Coder-1.5B"),
        ("gpt2", "gpt2"),
        ("/root/.cache/huggingface/hub/models--org--a-b/snapshots/0f3e", "org/a-b"),
        ("/home/me/models/secret", None),
        ("./model", None),
        ("~/model", None),
        ("tests", None),  # a folder that is there
        ("data/tasks.jsonl", None),
        ("a/b/c", None),
        ("", None),
        (None, None),
    ],
)
def test_only_names_of_the_hub_are_public(given, public, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    assert hub_name(given) == public


def test_a_dataset_remembers_where_it_came_from(tmp_path):
    def dataset(*folders):
        folder = tmp_path.joinpath(*folders)
        datasets.Dataset.from_dict({"a": [1]}).save_to_disk(folder)
        return datasets.load_from_disk(folder)

    assert dataset_origin(dataset("org___set", "default", "0.0.0")) == "org/set"
    assert dataset_origin(dataset("json", "default")) is None
    assert dataset_origin(datasets.Dataset.from_dict({"a": [1]})) is None
    assert dataset_origin([{"a": 1}]) is None


def test_the_licence_is_the_base_models_or_none(tmp_path):
    assert licence_of(None, str(tmp_path), None) == {}
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: own\nlanguage: en\n---\n")
    assert licence_of(None, str(tmp_path), None) == {"license": "other", "license_name": "own"}


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("no route"), OfflineModeIsEnabled(), LocalTokenNotFoundError(), HFValidationError()],
    ids=lambda error: type(error).__name__,
)
def test_without_an_answer_of_the_hub_there_is_no_licence(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fail)
    assert licence_of("org/base", "", None) == {}
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        licence_of("org/base", "", None)


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint-3"
    (folder / "global_step3").mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "training_args.bin", "README.md", "global_step3/states.pt"):
        (folder / name).write_text(name)
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "here", "r": 4, "x": ["/a/b/c"]})
    )
    state = {"best_model_checkpoint": "/home/me/out/checkpoint-3", "log_history": [{"loss": 1.0}]}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_goes_up_without_what_is_private(checkpoint, tmp_path):
    lay_out_checkpoint(checkpoint, tmp_path / "up", None)
    wanted = {
        "model.safetensors",
        "optimizer.pt",
        "adapter_config.json",
        "trainer_state.json",
        "global_step3/states.pt",
    }
    assert names(tmp_path / "up") == wanted
    assert json.loads((tmp_path / "up/adapter_config.json").read_text()) == {
        "base_model_name_or_path": None,
        "r": 4,
        "x": [None],
    }
    assert json.loads((tmp_path / "up/trainer_state.json").read_text())["best_model_checkpoint"] == "checkpoint-3"
    assert json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"] == "here", (
        "the user's stays"
    )


def test_a_model_goes_up_without_the_training_state(checkpoint, tmp_path):
    lay_out_model(checkpoint, tmp_path / "up", "org/base")
    assert names(tmp_path / "up") == {"model.safetensors", "adapter_config.json"}
    assert json.loads((tmp_path / "up/adapter_config.json").read_text())["base_model_name_or_path"] == "org/base"


def test_what_was_saved_is_made_public_in_place(checkpoint):
    make_public(checkpoint, None)
    assert "training_args.bin" not in names(checkpoint)
    assert (checkpoint / "README.md").exists()
