"""Every option of `SFTConfig` is in the table, and does what the table says."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import fields

import pytest
import torch
from transformers import TrainerCallback
from trl import SFTConfig

from tests.support.models import make_model
from tests.support.sandboxes import InstantSandbox
from tests.support.tiny_runs import REFERENCES, SMALL, TinyRun, measured_tasks, training_tasks, weights_of
from trl_gift import GiFTConfig, GiFTTrainer
from trl_gift.errors import ConfigError
from trl_gift.training.pairs import IGNORED, TrainingPair, TrainingPairs
from trl_gift.training.rounds import end_checkpoint
from trl_gift.training.sft_fields import SFT_FIELDS, Kind

KNOWN = {item.name for item in fields(SFTConfig)}
# Options that only some of the supported releases of transformers and TRL have.
OF_SOME_RELEASES = {
    "warmup_ratio", "logging_dir", "group_by_length", "activation_checkpointing", "activation_checkpointing_kwargs",
    "dataloader_in_order", "dataloader_multiprocessing_context", "ddp_static_graph", "trackio_bucket_id",
    "trackio_static_space_id",
}  # fmt: skip


# The table -------------------------------------------------------------------------------------------------------------


def test_every_option_is_in_the_table():
    new = sorted(KNOWN - SFT_FIELDS.keys())
    assert not new, (
        f"SFTConfig has the new options {new}; try each on a tiny run, and add it to trl_gift/training/sft_fields.py as "
        "honoured, per round, refused (with the reason and the fix) or without effect"
    )
    gone = sorted(SFT_FIELDS.keys() - KNOWN - OF_SOME_RELEASES)
    assert not gone, (
        f"SFTConfig has no options {gone} any more; take them out of trl_gift/training/sft_fields.py, or name them in "
        "OF_SOME_RELEASES if a supported release still has them"
    )


def test_the_table_says_what_it_means():
    assert not any(entry.refusals or not entry.text for entry in SFT_FIELDS.values() if entry.kind is Kind.NO_EFFECT)
    for name, entry in SFT_FIELDS.items():
        assert entry.kind is not Kind.REFUSED or len(entry.refusals) == 1, name
        assert not entry.text or entry.text.endswith("."), name
        for refusal in entry.refusals:
            assert refusal.reason[0].islower(), name
            assert refusal.fix[-1] != ".", name
            assert "; " not in refusal.reason + refusal.fix, f"{name}: the fix of an error follows its last semicolon"


def config(folder, **options):
    return GiFTConfig(str(folder), **SMALL | options)


def other(name, default):
    """A value that is not the default."""
    if name.endswith("_kwargs"):
        return {"loss": 3}
    if isinstance(default, bool):
        return not default
    return {int: 3, str: "another", list: ["loss"]}.get(type(default), "another")


@pytest.mark.parametrize(
    "name", sorted(name for name, entry in SFT_FIELDS.items() if entry.kind is Kind.REFUSED and name in KNOWN)
)
def test_what_is_refused_takes_the_default_alone(tmp_path, name):
    default = getattr(SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none"), name)
    config(tmp_path, **{name: default})
    with pytest.raises(ConfigError, match=rf"^{name}=.+: .+; .+\.$") as error:
        config(tmp_path, **{name: other(name, default)})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"packing": True, "max_length": None}, r"packing=True: .* max_length tokens; set max_length\.$"),
        ({"packing": True, "packing_strategy": "wrapped"}, "packing_strategy='wrapped': it cuts programs .*; use 'bfd'"),
        ({"padding_free": True}, "padding_free=True: it works only with packing=True or with max_length=None"),
        ({"activation_offloading": True}, "activation_offloading=True: .* this run uses no GPU; leave it out"),
        ({"save_strategy": "best"}, "save_strategy='best': a run continues from the end of each round"),
        ({"optim": "galore_adamw_layerwise"}, "optim='galore_adamw_layerwise': its hooks stay on the weights"),
        ({"optim": "schedule_free_adamw"}, "optim='schedule_free_adamw': it trains other weights than it evaluates"),
        ({"load_best_model_at_end": True, "one_round_per_process": True}, "load_best_model_at_end=True: the next process"),
        ({"label_smoothing_factor": 0.1, "loss_type": "chunked_nll"}, "label_smoothing_factor=0.1: it needs the logits"),
        ({"truncation_mode": "keep_end"}, "truncation_mode='keep_end': no example is cut"),
        ({"completion_only_loss": False, "assistant_only_loss": True}, "assistant_only_loss=True: it reads messages"),
        ({"metric_for_best_model": "eval_accuracy"}, "metric_for_best_model='eval_accuracy' is not measured; set .*pass@1"),
        ({"metric_for_best_model": "loss"}, "metric_for_best_model='loss' is not measured"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"},
            "lr_scheduler_type='reduce_lr_on_plateau' compares evaluations by eval_loss",
        ),
        (
            {"packing": True, "loss_weighting": "example", "per_device_train_batch_size": 1},
            "loss_weighting='example' with packing=True: .*; leave one of them out",
        ),
    ],
)  # fmt: skip
def test_values_that_cannot_work_are_refused_at_once(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **options)


@pytest.mark.parametrize("metric", ["pass@1", "eval_pass@1_low", "sampled_pass@4", "eval_mbpp_pass@1"])
def test_metrics_that_are_measured_are_taken(tmp_path, metric):
    assert config(tmp_path, metric_for_best_model=metric).greater_is_better


def test_full_determinism_is_for_the_cpu(tmp_path):
    (refusal,) = SFT_FIELDS["full_determinism"].refusals
    on_cpu = config(tmp_path, full_determinism=False)
    assert not refusal.applies(True, on_cpu)
    on_cpu.use_cpu = False
    assert refusal.applies(True, on_cpu)
    assert not refusal.applies(False, on_cpu)


def make_trainer(folder, tokenizer, measured=False, **options):
    callbacks = options.pop("callbacks", None)
    return GiFTTrainer(
        make_model(tokenizer), config(folder, **options), training_tasks(), measured_tasks() if measured else None,
        tokenizer, callbacks=callbacks, sandbox=InstantSandbox(lambda program, tests: True),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_strategy": "steps", "eval_steps": 1}, "eval_strategy='steps' evaluates within training, .* no eval_dataset"),
        ({"eval_on_start": True}, "eval_on_start=True evaluates within training"),
        ({"optim": "grokadamw"}, r"optim='grokadamw' cannot be made \(.*\); choose another"),
        (
            {"dataloader_drop_last": True, "per_device_train_batch_size": 37},
            r"a round has at most 36 examples, fewer than the 37 \(per_device_train_batch_size\) of a batch",
        ),
    ],
)  # fmt: skip
def test_and_what_the_trainer_alone_can_know(tmp_path, tokenizer, options, message):
    with pytest.raises(ConfigError, match=message):
        make_trainer(tmp_path, tokenizer, **options)


# What is honoured ------------------------------------------------------------------------------------------------------

LENGTHS = (9, 30, 12, 25, 7, 18, 40, 11)


def example_pairs():
    """Pairs of several lengths; a pair's first tokens are its prompt."""
    draw = random.Random(7)
    pairs = []
    for length in LENGTHS:
        ids = [draw.randrange(2, 290) for _ in range(length)]
        pairs.append(TrainingPair(ids, [IGNORED] * 4 + ids[4:]))
    return TrainingPairs(pairs, 0, len(pairs), 0, 0)


class Batches:
    """Notes the rows of each step as the model gets them."""

    def __init__(self):
        self.seen = []

    def watch(self, trainer):
        step = trainer.compute_loss

        def compute_loss(model, inputs, *args, **kwargs):
            self.seen.append(
                {name: value.clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)}
            )
            return step(model, inputs, *args, **kwargs)

        trainer.compute_loss = compute_loss


class Round:
    """One round of training on `example_pairs`, and what the model has seen of it."""

    def __init__(self, folder, tokenizer, pairs=None, **options):
        trainer = make_trainer(folder, tokenizer, **{"per_device_train_batch_size": 2, "logging_steps": 1} | options)
        batches = Batches()
        batches.watch(trainer)
        self.trainer, self.before = trainer, weights_of(trainer.model)
        self.output = trainer.train_round(1, pairs or example_pairs(), None)
        self.batches = batches.seen
        history = trainer.state.log_history
        self.losses = [entry["loss"] for entry in history if "loss" in entry]
        self.rates = [entry["learning_rate"] for entry in history if "learning_rate" in entry]

    @property
    def steps(self):
        return self.trainer.state.global_step

    @property
    def learned(self):
        """Number of tokens with a loss."""
        return sum(int((batch["labels"] != IGNORED).sum()) for batch in self.batches)

    @property
    def order(self):
        """The lengths of the rows, step by step."""
        return [sorted(batch["attention_mask"].sum(-1).tolist()) for batch in self.batches]


@pytest.fixture
def train(tmp_path, tokenizer):
    def made(**options):
        return Round(tmp_path / str(len(list(tmp_path.iterdir()))), tokenizer, **options)

    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tokenizer):
    """A round with no option of its own: four steps of two examples."""
    return Round(tmp_path_factory.mktemp("plain"), tokenizer)


LEARNED = sum(LENGTHS) - 4 * len(LENGTHS)


def test_packing_takes_fewer_steps_on_the_same_tokens(train):
    plain, packed = (
        train(per_device_train_batch_size=1),
        train(per_device_train_batch_size=1, packing=True, max_length=64),
    )
    assert (plain.steps, packed.steps) == (8, 3)
    assert plain.learned == packed.learned == LEARNED
    assert [batch["input_ids"].shape for batch in packed.batches] < [(1, 65)] * 3


def test_packed_programs_do_not_see_each_other(train):
    """The loss of a whole round in one step is that of the programs apart."""
    apart = train(per_device_train_batch_size=8)
    packed = train(per_device_train_batch_size=1, packing=True, max_length=256)
    free = train(per_device_train_batch_size=8, padding_free=True, max_length=None)
    assert apart.steps == packed.steps == free.steps == 1
    assert packed.losses == pytest.approx(apart.losses, rel=1e-3)
    assert free.losses == pytest.approx(apart.losses, rel=1e-3)
    assert "attention_mask" not in free.batches[0]
    assert free.batches[0]["input_ids"].shape == (1, sum(LENGTHS))


def test_packing_of_a_whole_run(tmp_path, tokenizer):
    """In each round, whose examples differ in number and length."""
    plain = TinyRun(tmp_path / "plain", tokenizer, logging_steps=1, per_device_train_batch_size=1)
    packed = TinyRun(tmp_path / "packed", tokenizer, logging_steps=1, per_device_train_batch_size=1, packing=True)
    counts = [one["pairs"] for one in packed.rounds]
    assert plain.trainer.state.global_step == sum(counts)
    assert packed.trainer.state.global_step == 2 * 1  # 36 short examples fill one row of 1024 tokens

    def tokens(run):
        return [
            entry["num_tokens"] for entry in run.trainer.state.log_history if entry["round"] == 1 and "loss" in entry
        ]

    # The model is the same until the first round has trained.
    assert tokens(packed)[-1] == tokens(plain)[-1]


def test_completion_only_loss(tmp_path, tokenizer):
    seen = {}
    for value in (None, True, False):
        trainer = make_trainer(tmp_path / str(value), tokenizer, completion_only_loss=value)
        seen[value] = trainer._pair(1, [])
    prompts = [[label == IGNORED for label in pair.labels] for pair in seen[None].pairs]
    assert seen[True] == seen[None]
    assert all(any(prompt) and not all(prompt) for prompt in prompts)
    assert [pair.input_ids for pair in seen[False].pairs] == [pair.input_ids for pair in seen[None].pairs]
    assert all(pair.labels == pair.input_ids for pair in seen[False].pairs)


def test_an_example_that_does_not_fit_max_length_is_left_out(tmp_path, tokenizer):
    pairs = make_trainer(tmp_path / "all", tokenizer, max_length=None)._pair(1, []).pairs
    lengths = sorted(len(pair.input_ids) for pair in pairs)
    fitting = make_trainer(tmp_path / "short", tokenizer, max_length=lengths[-1] - 1)._pair(1, [])
    assert fitting.num_too_long == lengths.count(lengths[-1]) > 0
    assert [pair for pair in pairs if len(pair.input_ids) < lengths[-1]] == fitting.pairs


def test_dataloader_drop_last(train):
    whole, cut = train(per_device_train_batch_size=3), train(per_device_train_batch_size=3, dataloader_drop_last=True)
    assert (whole.steps, cut.steps) == (3, 2)


def test_a_round_of_too_few_examples_loses_nothing(tmp_path, tokenizer):
    """A batch of 30 could have been filled, but only the first program passes."""
    options = SMALL | {"num_rounds": 1, "per_device_train_batch_size": 30, "train_on_references": False}
    sampled = []

    def judge(program, tests):
        if program in REFERENCES:
            return True
        sampled.append(program)
        return len(sampled) == 1

    def run(resume, **more):
        args = GiFTConfig(str(tmp_path), **options | more)
        trainer = GiFTTrainer(
            make_model(tokenizer), args, training_tasks(), processing_class=tokenizer, sandbox=InstantSandbox(judge)
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    with pytest.raises(
        ConfigError, match=r"round 1 has 8 examples, fewer than the 30 .*; set dataloader_drop_last=False"
    ):
        run(False, dataloader_drop_last=True)
    asked = len(sampled)
    assert run(True, dataloader_drop_last=False).state.global_step == 1
    assert len(sampled) == asked


@pytest.mark.parametrize("option", [{"train_sampling_strategy": "group_by_length"}, {"group_by_length": True}])
def test_grouping_by_length(train, option):
    if not option.keys() <= KNOWN:
        pytest.skip("not an option of this release")
    pairs = TrainingPairs(example_pairs().pairs * 10, 0, 80, 0, 0)  # enough for groups of several batches

    def padding(round_):
        return sum(abs(one - other) for one, other in round_.order)

    grouped, plain = train(pairs=pairs, **option), train(pairs=pairs)
    assert grouped.steps == plain.steps == 40
    assert grouped.learned == plain.learned
    assert 2 * padding(grouped) < padding(plain)


@pytest.mark.parametrize("option", [{"data_seed": 5}, {"seed": 5}, {"shuffle_dataset": True}])
def test_the_order_follows_its_seed(train, plain, option):
    assert train(**option).order != plain.order


def test_examples_in_order(train):
    if "train_sampling_strategy" not in KNOWN:
        pytest.skip("not an option of this release")
    rows = train(train_sampling_strategy="sequential").order
    assert rows == [sorted(LENGTHS[place : place + 2]) for place in range(0, 8, 2)]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_steps": 3}, 3),
        ({"num_train_epochs": 2}, 8),
        ({"per_device_train_batch_size": 4}, 2),
        ({"gradient_accumulation_steps": 2}, 2),
        ({"accelerator_config": {"split_batches": True}}, 4),
    ],
)
def test_the_number_of_steps(train, options, steps):
    assert train(**options).steps == steps


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 1e-2}, {"weight_decay": 0.5}, {"max_grad_norm": 1e-3}, {"optim": "sgd"}, {"adam_beta1": 0.5},
        {"adam_beta2": 0.5}, {"adam_epsilon": 1e-2}, {"optim": "adafactor"}, {"optim_args": "eps=0.1", "optim": "rmsprop"},
        {"neftune_noise_alpha": 10.0}, {"loss_type": "dft"}, {"lr_scheduler_type": "cosine"},
        {"warmup_steps": 3}, {"bf16": True}, {"lr_scheduler_type": "cosine_with_min_lr",
                                             "lr_scheduler_kwargs": {"min_lr": 1e-4}},
    ],
    ids=str,
)  # fmt: skip
def test_what_shapes_the_weights(train, plain, options):
    changed = train(**options)
    assert changed.before == plain.before
    assert weights_of(changed.trainer.model) != weights_of(plain.trainer.model)
    recorded = changed.trainer.args.training_options()
    names = options.keys() - {"bf16"}
    assert {name: recorded[name] for name in names} == json.loads(json.dumps({name: options[name] for name in names}))


def test_label_smoothing(train, plain):
    with warnings.catch_warnings():  # TRL drops it in 2.0
        warnings.simplefilter("ignore", FutureWarning)
        smooth = train(label_smoothing_factor=0.2, loss_type="nll")
    assert smooth.losses[0] != plain.losses[0]


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_checkpointing": True}, {"dataloader_num_workers": 1},
        {"remove_unused_columns": False}, {"use_cache": True}, {"full_determinism": True}, {"torch_empty_cache_steps": 1},
        {"debug": "underflow_overflow"}, {"do_train": True, "do_eval": True, "do_predict": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_changes_no_weight(train, plain, options):
    changed = train(**options)
    assert weights_of(changed.trainer.model) == weights_of(plain.trainer.model)
    torch.use_deterministic_algorithms(False)


def test_padding_to_a_multiple(train):
    assert {batch["input_ids"].shape[1] for batch in train(pad_to_multiple_of=64).batches} == {64}


def test_a_batch_that_does_not_fit_is_made_smaller(tmp_path, tokenizer):
    """A later round begins with the size that was found; what the failed try has done does not count."""
    tries = []

    class Full(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            tries.append((state.global_step, state.train_batch_size))
            if state.train_batch_size == 5:
                raise RuntimeError("CUDA out of memory.")

    options = {"auto_find_batch_size": True, "per_device_train_batch_size": 5}
    trainer = make_trainer(tmp_path, tokenizer, callbacks=[Full()], **options)
    for number in (1, 2):
        trainer.train_round(number, example_pairs(), None)
    assert tries == [(0, 5), (0, 4), (1, 4), (2, 4), (3, 4)]
    assert trainer.state.global_step == 4


def test_tokens_are_counted_in_each_round(tmp_path, tokenizer):
    trainer = make_trainer(tmp_path, tokenizer, include_num_input_tokens_seen="non_padding", logging_steps=1)
    for number in (1, 2):
        trainer.train_round(number, example_pairs(), None)
        assert trainer.state.num_input_tokens_seen == sum(LENGTHS)
    counts = [entry["num_tokens"] for entry in trainer.state.log_history if "loss" in entry]
    assert counts[-1] == 2 * sum(LENGTHS)


def test_logging_and_saving_count_the_steps_of_the_run(tmp_path, tokenizer):
    run = TinyRun(tmp_path, tokenizer, per_device_train_batch_size=8, logging_steps=4, save_strategy="steps", save_steps=4,
                  save_only_model=True, logging_first_step=True)  # fmt: skip
    steps = [entry["step"] for entry in run.trainer.state.log_history if "loss" in entry]
    assert steps == [1, 4, 8]
    assert run.trainer.state.global_step == 10
    folders = {path.name for path in tmp_path.glob("checkpoint-*")}
    assert folders == {"checkpoint-4", "checkpoint-5", "checkpoint-8", "checkpoint-10"}  # 5 and 10 end a round
    assert not list(tmp_path.glob("checkpoint-*/optimizer.pt"))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [0, 5, 10]),
        (
            {"eval_strategy": "steps", "eval_steps": 4},
            [0, 4, 5, 8, 10],
        ),
        ({"eval_strategy": "steps", "eval_steps": 4, "eval_delay": 6}, [0, 5, 8, 10]),
        ({"eval_on_start": True}, [0, 0, 5, 5, 10]),
        ({"eval_strategy": "epoch"}, [0, 5, 5, 10, 10]),
    ],
    ids=str,
)
def test_evaluations_within_training_execute_programs(tmp_path, tokenizer, options, steps):
    run = TinyRun(tmp_path, tokenizer, measured=True, per_device_train_batch_size=8, **options)
    found = [entry for entry in run.trainer.state.log_history if "eval_pass@1" in entry]
    seen = [entry["step"] for entry in found]
    if options.get("eval_strategy") == "steps":  # newer releases evaluate at the end of a training, too
        seen = sorted(set(seen))
    assert seen == steps
    assert not any("eval_loss" in entry for entry in run.trainer.state.log_history)
    assert len(run.asked("evaluate")) == len(measured_tasks()) * len(found)


@pytest.mark.parametrize("limit", [None, 2])
def test_each_round_ends_with_its_best_checkpoint(tmp_path, tokenizer, monkeypatch, limit):
    """The first round's best is its second step, and no later evaluation is as good: the run ends with these weights."""
    scores = {1: 0.5, 2: 0.9, 3: 0.4, 4: 0.3, 5: 0.2, 6: 0.1}
    options = {
        "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "load_best_model_at_end": True,
        "metric_for_best_model": "eval_pass@1", "greater_is_better": True, "per_device_train_batch_size": 16,
        "save_total_limit": limit,
    }  # fmt: skip
    seen = {}

    class Weights(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen[state.global_step] = weights_of(model)

    trainer = make_trainer(tmp_path, tokenizer, measured=True, callbacks=[Weights()], **options)
    monkeypatch.setattr(trainer, "_evaluate_base", lambda: None)
    monkeypatch.setattr(
        trainer, "_measure", lambda *args: seen.update({f"measured {args[0]}": weights_of(trainer.model)})
    )
    monkeypatch.setattr(trainer, "evaluate", lambda **kwargs: {"eval_pass@1": scores[trainer.state.global_step]})
    trainer.train()
    assert len({seen[step] for step in range(1, 7)}) == 6
    assert (seen["measured 1"], seen["measured 2"]) == (seen[2], seen[4])
    if limit is None:
        for number, best in ((1, 2), (2, 4)):
            trainer.load_weights(end_checkpoint(tmp_path, trainer.run_key, number))
            assert weights_of(trainer.model) == seen[best]


def test_predict_names_what_measures_programs(tmp_path, tokenizer):
    with pytest.raises(ConfigError, match=r"call trainer\.evaluate\(tasks\) for pass@1, or trl_gift\.evaluate"):
        make_trainer(tmp_path, tokenizer).predict(None)
