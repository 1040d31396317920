"""What we rely on in the libraries that we build upon; an upgrade that changes it fails here with a sentence.

Each test names the module of ours that would break. `make test-min` and `make test-latest` run this against the oldest
supported releases and the newest ones.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.resources
import inspect
import json
import operator
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import accelerate
import datasets
import huggingface_hub
import peft
import pytest
import torch
import transformers
import trl
from packaging.requirements import Requirement
from packaging.version import Version

import trl_gift
from tests.support.architectures import make_architecture
from trl_gift.config import GiFTConfig
from trl_gift.generation.compact.layers import decoder_of
from trl_gift.trainer import _REFUSED

REPOSITORY = Path(trl_gift.__file__).parent.parent


def parameters(function):
    return list(inspect.signature(function).parameters)


def takes(function, *wanted, used_in):
    """Fails with a sentence if a function has lost an argument that we pass by name."""
    found = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in found.values()):
        return
    lost = sorted(set(wanted) - set(found))
    assert not lost, f"{function.__qualname__} no longer takes {', '.join(lost)}; revise {used_in}"


def offers(owner, *names, used_in):
    """Fails with a sentence if a class or a module has lost something that we use."""
    lost = [name for name in names if name not in dir(owner)]
    assert not lost, f"{owner.__name__} no longer has {', '.join(lost)}; revise {used_in}"


# What we import ------------------------------------------------------------------------------------------------------


LIBRARIES = ("trl", "transformers", "peft", "accelerate", "datasets", "huggingface_hub", "evaluate")
# Subpackages that are documented as interfaces of their own; all else comes from the top level.
PUBLIC_SUBPACKAGES = {
    "accelerate.utils",
    "huggingface_hub.errors",
    "huggingface_hub.utils",
    "transformers.integrations",
}


def imported_names():
    """Every `from library import name` of the package, as (library, name, file)."""
    for path in sorted((REPOSITORY / "trl_gift").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LIBRARIES:
                for alias in node.names:
                    yield node.module, alias.name, str(path.relative_to(REPOSITORY))


def test_only_public_names_are_imported_and_they_are_there():
    found, there = set(imported_names()), {}
    assert len(found) > 20, "the search for imports finds nothing; fix this test"
    for library, name, where in found:
        assert not name.startswith("_"), f"{where} imports the private {library}.{name}"
        assert library in (*LIBRARIES, *PUBLIC_SUBPACKAGES), f"{where} imports {library}.{name}; use the top level"
        if library not in there:
            there[library] = set(dir(importlib.import_module(library)))
        assert name in there[library], f"{library} no longer has {name}, which {where} imports"


def test_versions_are_among_the_promised():
    """What is installed, and what constraints-min.txt pins, agree with pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest = dict(
        line.split("==") for line in (REPOSITORY / "constraints-min.txt").read_text().splitlines() if "==" in line
    )
    oldest = {name.lower(): found for name, found in oldest.items()}
    for text in project["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(version(requirement.name)), f"{text} is promised"
        if requirement.name == "torch":
            continue  # only one build of it could be tested
        (floor,) = (item.version for item in requirement.specifier if item.operator == ">=")
        tested = oldest[requirement.name.lower()]
        assert Version(tested).release[: len(Version(floor).release)] == Version(floor).release, (
            f"pyproject.toml promises {text} and `make test-min` runs with {tested}; make them the same"
        )


def test_what_is_imported_is_promised():
    """Every library that the package imports is a dependency, an extra, or has its reason here."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    promised = {Requirement(text).name.lower().replace("-", "_") for text in texts} - {"pyyaml"} | {"yaml"}
    others = {
        "packaging": "transformers brings it",
        "pandas": "datasets brings it",
        "tokenizers": "transformers brings it",
        "safetensors": "transformers brings it",
        "wandb": "only if report_to names it, which is checked first",
        "tensorboardX": "what transformers falls back to",
    }
    for path in sorted((REPOSITORY / "trl_gift").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in (name.split(".")[0] for name in names):
                known = name in sys.stdlib_module_names or name in {"trl_gift", *promised, *others}
                assert known, f"{path.relative_to(REPOSITORY)} imports {name}; pyproject.toml does not promise it"


# The trainer (trl_gift.training.rounds, trl_gift.trainer) ---------------------------------------------------------------------


def test_the_one_private_hook():
    """`Trainer._init_training_state` sets where the global step begins; trl_gift.training.rounds overrides it."""
    assert parameters(transformers.Trainer._init_training_state) == [
        "self",
        "max_steps",
        "num_update_steps_per_epoch",
        "num_train_epochs",
        "resume_from_checkpoint",
        "trial",
    ], "the hook's signature has changed; revise trl_gift.training.rounds"
    source = inspect.getsource(transformers.Trainer._inner_training_loop)
    assert "epochs_trained, steps_trained_in_current_epoch = self._init_training_state(" in source, (
        "the training loop no longer takes epochs and batches to skip from the hook; revise trl_gift.training.rounds"
    )


def test_sft_trainer_takes_what_we_pass():
    takes(
        trl.SFTTrainer.__init__,
        "model", "args", "train_dataset", "eval_dataset", "processing_class", "callbacks", "quantization_config",
        "peft_config",
        used_in="trl_gift.trainer",
    )  # fmt: skip
    takes(trl.SFTTrainer.train, "resume_from_checkpoint", used_in="trl_gift.training.rounds")
    takes(trl.SFTTrainer.log, "logs", used_in="trl_gift.trainer")
    takes(transformers.Trainer.save_model, "output_dir", used_in="trl_gift.cli.train")
    offers(
        trl.SFTTrainer, "add_callback", "remove_callback", "pop_callback", "create_model_card", "push_to_hub",
        used_in="trl_gift.training.rounds, trl_gift.cli.quickstart",
    )  # fmt: skip
    offers(trl.SFTTrainer, "_tag_names", "_name", "_paper", used_in="trl_gift.trainer, whose model card they make")


def test_our_trainer_takes_what_sft_trainer_takes_in_the_same_words():
    theirs = set(parameters(trl.SFTTrainer.__init__))
    ours = set(parameters(trl_gift.GiFTTrainer.__init__)) - {"sandbox", "others"}
    assert ours <= theirs
    new = theirs - ours - set(_REFUSED) - {"optimizer_cls_and_kwargs"}
    assert not new, f"SFTTrainer has a new argument {sorted(new)}; take it, or say why not in trl_gift.trainer"
    for name in ("evaluate", "predict"):
        ours, theirs = (parameters(vars(owner)[name]) for owner in (trl_gift.GiFTTrainer, transformers.Trainer))
        assert ours == theirs, f"Trainer.{name} takes other arguments now; revise trl_gift.trainer"


@pytest.fixture
def sft_trainer(tmp_path, model_factory, tokenizer):
    """Plain TRL, with pre-tokenised rows; what holds for it is what our rounds build upon."""

    def make(rows=None, callbacks=None, **options):
        rows = rows or {"input_ids": [[5, 6, 7, 8]] * 4, "labels": [[-100, -100, 7, 8]] * 4}
        config = trl.SFTConfig(
            str(tmp_path), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True,
            **{"per_device_train_batch_size": 2, "num_train_epochs": 1, "save_strategy": "no"} | options,
        )  # fmt: skip
        return trl.SFTTrainer(
            model=model_factory(), args=config, train_dataset=datasets.Dataset.from_dict(rows),
            processing_class=tokenizer, callbacks=callbacks,
        )  # fmt: skip

    return make


def test_pretokenised_data_reach_the_model_unchanged(sft_trainer):
    """`input_ids` and `labels` are SFTTrainer's documented pre-tokenised form; the collator must only pad them."""
    trainer = sft_trainer({"input_ids": [[5, 6, 7, 8], [9, 10]], "labels": [[-100, -100, 7, 8], [-100, 10]]})
    (batch,) = trainer.get_train_dataloader()
    got = {
        tuple(row[mask.bool()].tolist()): tuple(labels[mask.bool()].tolist())
        for row, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True)
    }
    changed = "SFTTrainer changes pre-tokenised rows; revise trl_gift.training.pairs and RoundTrainer.train_round"
    assert got == {(5, 6, 7, 8): (-100, -100, 7, 8), (9, 10): (-100, 10)}, changed
    padding = batch["labels"][batch["attention_mask"] == 0]
    assert padding.tolist() == [-100, -100], changed


def test_several_trainings_of_one_trainer(sft_trainer):
    """Each round is one `train()` with its own rows, a new optimizer and a learning rate that starts again."""
    trainer = sft_trainer(learning_rate=1e-3, logging_steps=1)
    offers_here = "trl_gift.training.rounds sets it to None between rounds, to free what it holds"
    for holder, name in [
        (trainer, "optimizer"),
        (trainer, "lr_scheduler"),
        (trainer.callback_handler, "optimizer"),
        (trainer.callback_handler, "lr_scheduler"),
        (trainer.callback_handler, "train_dataloader"),
    ]:
        assert name in vars(holder), f"{type(holder).__name__} has no attribute {name} any more; {offers_here}"
    output = trainer.train()
    assert {"global_step", "training_loss", "metrics"} <= set(output._fields), "TrainOutput has changed"
    first, rates = trainer.optimizer, [entry["learning_rate"] for entry in trainer.state.log_history[:2]]
    assert trainer.state.global_step == 2
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.train_dataset = datasets.Dataset.from_dict({"input_ids": [[3, 4, 5]] * 2, "labels": [[-100, 4, 5]] * 2})
    trainer.train()
    assert trainer.state.global_step == 1, "a swapped train_dataset is no longer used; revise RoundTrainer.train_round"
    assert trainer.optimizer is not first, "an optimizer set to None is not made anew; Adam's moments would survive"
    assert trainer.state.log_history[0]["learning_rate"] == rates[0], "the learning rate does not start again"


def test_callbacks_see_what_we_act_on(sft_trainer):
    """Saving at a round's last step, and marking a checkpoint when all of it is on disk (trl_gift.training.rounds)."""
    seen = []

    class Watch(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = state.global_step >= state.max_steps
            return control

        def on_save(self, args, state, control, **kwargs):
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            seen.append((state.global_step, {path.name for path in folder.iterdir()}))
            assert state.is_world_process_zero

    trainer = sft_trainer(callbacks=[Watch()], save_strategy="steps", save_steps=1000)
    trainer.train()
    ((step, files),) = [item for item in seen if item[0]]
    assert step == 2, "should_save set at the last step saves no checkpoint there"
    needed = {"trainer_state.json", "optimizer.pt", "scheduler.pt"}
    assert needed <= files, (
        "on_save comes before the checkpoint is whole; trl_gift.training.rounds marks it there as complete"
    )


def test_state_and_processes_are_where_we_look(sft_trainer):
    trainer = sft_trainer()
    for name in ("log_history", "global_step", "max_steps"):
        assert name in vars(trainer.state), f"TrainerState lost {name}; revise trl_gift.training.rounds"
    assert trainer.is_deepspeed_enabled is False, "trl_gift.trainer refuses DeepSpeed by this attribute"
    assert trainer.is_fsdp_enabled is False, "trl_gift.trainer refuses FSDP by this attribute"
    assert trainer.accelerator.unwrap_model(trainer.model) is trainer.model
    assert trainer.processing_class.eos_token_id is not None
    offers(
        accelerate.Accelerator, "wait_for_everyone", "is_main_process", "process_index", "num_processes",
        "end_training", used_in="trl_gift.trainer",
    )  # fmt: skip
    assert accelerate.utils.gather_object(["a", "b"]) == ["a", "b"], "one process gathers its own list, flat"
    takes(transformers.set_seed, "seed", used_in="trl_gift.training.rounds")
    for name in ("end_of_dataloader", "remainder"):
        assert name in dir(trainer.accelerator.gradient_state), (
            f"GradientState lost {name}; revise trl_gift.training.rounds"
        )
    assert trainer.padding_free is False, "trl_gift.training.rounds tells padded batches by this attribute"
    assert parameters(transformers.Trainer.get_batch_samples) == ["self", "epoch_iterator", "num_batches", "device"], (
        "the hook of the last batch has changed; revise trl_gift.training.rounds"
    )
    assert "self.get_batch_samples(" in inspect.getsource(transformers.Trainer._run_epoch), (
        "batches come from elsewhere now; revise trl_gift.training.rounds"
    )


def test_how_examples_are_packed():
    """`trl_gift.training.rounds` packs the examples of each round; labels must be packed with the ids."""
    takes(trl.pack_dataset, "dataset", "seq_length", "strategy", "map_kwargs", used_in="trl_gift.training.rounds")
    rows = datasets.Dataset.from_dict({"input_ids": [[5, 6, 7], [8, 9]], "labels": [[-100, 6, 7], [-100, 9]]})
    (packed,) = trl.pack_dataset(rows, 8, "bfd", {"num_proc": None})
    changed = "pack_dataset makes other columns; revise RoundTrainer.train_round"
    assert packed == {"input_ids": [5, 6, 7, 8, 9], "labels": [-100, 6, 7, -100, 9], "seq_lengths": [3, 2]}, changed


def test_what_is_looked_at_before_and_after_a_round(sft_trainer):
    trainer = sft_trainer()
    takes(transformers.Trainer.get_optimizer_cls_and_kwargs, "args", "model", used_in="trl_gift.training.checks")
    assert len(trainer.get_optimizer_cls_and_kwargs(trainer.args, trainer.model)) == 2, (
        "revise trl_gift.training.checks"
    )
    assert trainer.args.accelerator_config.split_batches is False, "revise trl_gift.training.checks"
    assert trainer.state.best_model_checkpoint is None, (
        "trl_gift.training.rounds reads it after load_best_model_at_end"
    )


def test_what_is_looked_at_under_deepspeed_and_fsdp(sft_trainer, tmp_path):
    """The accelerator's own state, not a stand-in: the FSDP plugin is no attribute of it without FSDP."""
    from trl_gift.training.rounds import check_sharded

    args = GiFTConfig(str(tmp_path), use_cpu=True, one_round_per_process=True)
    state = sft_trainer().accelerator.state
    assert state.deepspeed_plugin is None
    check_sharded(args, state)


def test_weights_and_state_of_a_checkpoint(tmp_path, model_factory):
    """How a process continues where another has ended a round (trl_gift.training.rounds)."""
    takes(transformers.TrainerState.load_from_json, "json_path", used_in="trl_gift.training.rounds")
    takes(accelerate.load_checkpoint_in_model, "model", "checkpoint", used_in="trl_gift.training.rounds")
    takes(peft.load_peft_weights, "device", used_in="trl_gift.training.rounds")
    one, other = (
        peft.get_peft_model(
            model_factory(), peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
        )
        for _ in range(2)
    )
    one.save_pretrained(tmp_path)
    peft.set_peft_model_state_dict(other, peft.load_peft_weights(str(tmp_path), device="cpu"))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs), (
        "an adapter comes back otherwise; revise trl_gift.training.rounds"
    )
    settings = peft.PeftConfig.from_pretrained(tmp_path)
    assert not settings.is_prompt_learning, (
        "trl_gift.training.merging tells adapters without weights by this attribute"
    )
    takes(
        peft.PeftModel.from_pretrained(model_factory(), tmp_path).merge_and_unload,
        "safe_merge",
        used_in="trl_gift.training.merging",
    )


def test_accelerate_s_launcher():
    from accelerate.commands.launch import launch_command_parser

    from trl_gift.cli.launch import FLAGS

    known = set(launch_command_parser()._option_string_actions)
    lost = {"--config_file", "--multi_gpu", "--module", *(f"--{name}" for name in FLAGS)} - known
    assert not lost, f"accelerate launch no longer takes {sorted(lost)}; revise trl_gift.cli.launch"


def test_mixed_precision_is_put_on_the_forward_method():
    """`trl_gift.training.rounds` takes it off for sampling by these two attributes of the model."""
    code = (  # in a process of its own: accelerate keeps one precision for a process
        "import torch; from accelerate import Accelerator; model = torch.nn.Linear(2, 2); own = set(vars(model)); "
        "Accelerator(cpu=True, mixed_precision='bf16').prepare(model); "
        "print(sorted(name for name in set(vars(model)) - own if 'forward' in name))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = result.stdout.strip()
    assert added == "['_original_forward', 'forward']", "accelerate wraps otherwise; revise trl_gift.training.rounds"


# Publishing (trl_gift.trainer, trl_gift.hub) -------------------------------------------------------------------------------


def test_uploads_leave_our_artefacts_out():
    """Folders that begin with an underscore stay at home; that is why artefacts lie in `_gift` (trl_gift.run.folder)."""
    for method in (transformers.Trainer.push_to_hub, transformers.Trainer._push_from_checkpoint):
        assert '"_*"' in inspect.getsource(method), (
            f"Trainer.{method.__name__} no longer ignores `_*`: samples would be uploaded unasked; revise "
            "trl_gift.run.folder"
        )


def test_the_methods_of_pushing_that_we_replace():
    """What transformers would push by itself, trl_gift.trainer pushes instead; `_push_from_checkpoint` is private."""
    theirs = transformers.Trainer
    assert parameters(theirs._push_from_checkpoint) == ["self", "checkpoint_folder"], "revise trl_gift.trainer"
    saving = inspect.getsource(theirs._save_checkpoint)
    assert "self._push_from_checkpoint(output_dir)" in saving, (
        "checkpoints are pushed from elsewhere now: they would be pushed twice; revise trl_gift.trainer"
    )
    for name in ("push_to_hub", "init_hf_repo"):
        ours = set(parameters(vars(theirs)[name]))
        lost = ours - set(parameters(getattr(trl_gift.GiFTTrainer, name)))
        assert not lost, f"Trainer.{name} takes {sorted(lost)} now; revise trl_gift.trainer"
    assert inspect.getsource(theirs).count("upload_folder(") == 3, (
        "transformers pushes from another place now; revise trl_gift.trainer"
    )
    takes(trl.SFTTrainer.create_model_card, "model_name", "dataset_name", "tags", used_in="trl_gift.trainer")
    takes(theirs.save_model, "output_dir", "_internal_call", used_in="trl_gift.trainer")
    fields = {item.name for item in dataclasses.fields(trl.SFTConfig)}
    used = {"push_to_hub", "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo", "hub_always_push",
            "hub_revision"}  # fmt: skip
    assert used <= fields, f"SFTConfig lost {sorted(used - fields)}; revise trl_gift.trainer"


def test_the_hub_s_client():
    where = "trl_gift.hub.uploads"
    api = huggingface_hub.HfApi
    takes(api.create_repo, "repo_id", "repo_type", "private", "exist_ok", used_in="trl_gift.hub.repositories")
    takes(api.create_branch, "repo_id", "repo_type", "token", "branch", "exist_ok", used_in=where)
    takes(
        api.upload_folder, "folder_path", "repo_id", "repo_type", "commit_message", "token", "revision", used_in=where
    )
    takes(api.model_info, "timeout", "token", used_in="trl_gift.hub.licence")
    offers(api, "run_as_future", used_in=where)
    assert huggingface_hub.HfApi().run_as_future(int, "3").result() == 3


def test_the_hub_s_errors():
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    failures = (httpx.HTTPError, OSError, ValueError)
    for name in ("HfHubHTTPError", "LocalTokenNotFoundError", "OfflineModeIsEnabled", "HFValidationError"):
        assert issubclass(getattr(errors, name), failures), (
            f"{name} is another error now; revise trl_gift.hub.failures"
        )
    assert issubclass(httpx.ConnectError, failures)


def test_cards(tmp_path):
    data = huggingface_hub.ModelCardData(license="mit", tags=["gift"], library_name="peft")
    card = huggingface_hub.ModelCard("---\n{}\n---\n\n# A card\n")
    card.data = data
    card.save(tmp_path / "README.md")
    read = huggingface_hub.ModelCard.load(tmp_path / "README.md")
    changed = "cards are written or read otherwise; revise trl_gift.hub.model_card"
    assert read.data.to_dict() == {"license": "mit", "tags": ["gift"], "library_name": "peft"}, changed
    assert read.text.strip() == "# A card", changed
    assert huggingface_hub.DatasetCardData(pretty_name="x").to_dict()["pretty_name"] == "x"
    template = importlib.resources.files("trl") / "templates" / "lm_model_card.md"
    links = {name: f"https://{name}" for name in ("wandb_url", "trackio_url", "comet_url")}
    text = huggingface_hub.ModelCard.from_template(data, template_path=str(template), **links).text
    for link in links.values():
        assert re.search(rf"^\[<img .*\]\({link}\)", text, re.MULTILINE), changed


# Trackers (trl_gift.run.tracking) ------------------------------------------------------------------------------------------


def test_tracker_callbacks():
    """Each tracker's own run is told through its callback in transformers."""
    from transformers import integrations

    where = "trl_gift.run.tracking"
    for name in ("TensorBoardCallback", "TrackioCallback", "WandbCallback"):
        offers(getattr(integrations, name), "on_train_end", used_in=where)
    tensorboard = inspect.getsource(integrations.TensorBoardCallback)
    for used in ("self.tb_writer", "self.logging_dir", "TENSORBOARD_LOGGING_DIR"):
        assert used in tensorboard, f"TensorBoardCallback no longer uses {used}; revise {where}"
    assert 'os.getenv("WANDB_PROJECT", "huggingface")' in inspect.getsource(integrations.WandbCallback), (
        f"transformers chooses the project of Weights & Biases otherwise; revise {where}"
    )
    assert isinstance(integrations.get_available_reporting_integrations(), list)


# The options (trl_gift.config) and the command line (trl_gift.cli) -----------------------------------------------------


def test_our_options_are_not_trl_s():
    """An option that SFTConfig comes to have too would vanish from run.json and from what a resume compares."""
    theirs = {item.name for item in dataclasses.fields(trl.SFTConfig)}
    other_defaults = {"learning_rate", "num_train_epochs", "gradient_checkpointing"}
    both = theirs & set(GiFTConfig.__annotations__) - other_defaults
    assert other_defaults <= theirs
    assert not both, f"SFTConfig now has {sorted(both)}, which GiFTConfig adds; revise trl_gift.config"


def test_inherited_options_that_we_use():
    theirs = {item.name for item in dataclasses.fields(trl.SFTConfig)}
    used = {
        "output_dir", "seed", "use_cpu", "max_length", "gradient_accumulation_steps", "ignore_data_skip",
        "per_device_train_batch_size", "num_train_epochs", "max_steps", "save_strategy", "logging_strategy", "disable_tqdm",
        "report_to", "push_to_hub", "model_init_kwargs", "gradient_checkpointing", "optim", "bf16", "fp16",
    }  # fmt: skip
    assert used <= theirs, f"SFTConfig lost {sorted(used - theirs)}; revise trl_gift.trainer and trl_gift.estimate"
    assert isinstance(trl.SFTConfig._VALID_DICT_FIELDS, list), "options that are dicts are named there"


def test_parser_and_model_config(tmp_path):
    fields = trl.ModelConfig.__dataclass_fields__
    for name in ("model_name_or_path", "model_revision", "attn_implementation", "dtype", "use_peft", "load_in_4bit"):
        assert name in fields, f"trl.ModelConfig lost {name}; revise trl_gift.cli.arguments"
    assert trl.get_peft_config(trl.ModelConfig()) is None
    assert trl.get_quantization_config(trl.ModelConfig()) is None
    config = tmp_path / "run.yaml"
    config.write_text("model_name_or_path: from-file\ndtype: float32\n")
    parser = trl.TrlParser((trl.ModelConfig,), prog="trl-gift train", allow_abbrev=False)
    (model,) = parser.parse_args_and_config(["--config", str(config), "--dtype", "bfloat16"])
    changed = "TrlParser reads a YAML file otherwise; revise trl_gift.cli.arguments"
    assert (model.model_name_or_path, model.dtype) == ("from-file", "bfloat16"), changed
    config.write_text("no_such_option: 1\n")
    parser = trl.TrlParser((trl.ModelConfig,), prog="trl-gift train", allow_abbrev=False)
    with pytest.raises(ValueError, match="no_such_option"):
        parser.parse_args_and_config(["--config", str(config)])


# The engines (trl_gift.generation) -------------------------------------------------------------------------------------


def test_the_cache_interface_of_the_compact_engine():
    changed = "transformers' cache has changed; revise trl_gift.generation.compact.slot_cache"
    assert parameters(transformers.Cache.update)[:4] == ["self", "key_states", "value_states", "layer_idx"], changed
    takes(transformers.Cache.__init__, "layers", used_in="trl_gift.generation.compact.slot_cache")
    takes(transformers.Cache.get_seq_length, "layer_idx", used_in="trl_gift.generation.compact.slot_cache")
    cache = transformers.DynamicCache()
    keys = torch.randn(2, 3, 4, 5)
    cache.update(keys, keys, 0)
    assert cache.layers[0].keys.shape == cache.layers[0].values.shape == (2, 3, 4, 5), changed


def test_what_tells_the_compact_engine_how_layers_differ(model_factory):
    changed = "transformers says otherwise what layers keep; revise trl_gift.generation.compact.layers"
    for kind, windows in {"llama": [None, None], "gemma3": [8, None], "mistral": [8, 8]}.items():
        model = model_factory(kind=kind)
        found = [layer.window for layer in decoder_of(model).layers]
        assert found == windows, changed
        assert model._supports_default_dynamic_cache() is True, changed
        assert model._is_stateful is False, changed
        assert model.config._attn_implementation in ("sdpa", "eager"), changed


def test_models_whose_layers_differ_take_a_mask_for_each_kind(model_factory):
    model, ids = model_factory(kind="gemma3"), torch.tensor([[5, 6, 7, 8]])
    mask = torch.full((1, 1, 4, 4), -torch.inf).triu(1)
    with torch.no_grad():
        masks = {"full_attention": mask, "sliding_attention": mask}
        torch.testing.assert_close(model(input_ids=ids, attention_mask=masks).logits, model(input_ids=ids).logits)


@pytest.mark.skipif(Version(transformers.__version__) < Version("5.21"), reason="older caches keep states otherwise")
def test_states_are_in_tables_of_the_cache_s_layers(tokenizer):
    """The compact engine copies and drops them by row (trl_gift.generation.compact.states)."""
    model = make_architecture("qwen3_5_text", tokenizer)
    cache = transformers.DynamicCache(config=model.config)
    model(input_ids=torch.tensor([[5, 6, 7], [8, 9, 10]]), past_key_values=cache)
    layer = cache.layers[0]
    assert [len(state) for state in (*layer.conv_states.values(), *layer.recurrent_states.values())] == [2, 2]


def test_a_four_dimensional_mask_is_used_as_it_is(model_factory):
    """The compact engine hands its own additive mask to the model; every query sees the columns it leaves open."""
    model = model_factory()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = model(input_ids=ids[:, 2:], position_ids=torch.tensor([[0, 1]])).logits[:, -1]
        mask = torch.full((1, 1, 4, 4), -torch.inf).triu(1)
        mask[..., :2] = -torch.inf
        mask[:, :, 0, 0] = mask[:, :, 1, 1] = 0.0  # a row that sees nothing would be NaN
        positions = torch.tensor([[0, 0, 0, 1]])
        masked = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, -1]
    torch.testing.assert_close(masked, expected)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_models_keep_few_logits(kind, model_factory):
    """`logits_to_keep` saves the engines and the scoring most of their memory."""
    logits = model_factory(kind=kind)(input_ids=torch.tensor([[5, 6, 7, 8]]), logits_to_keep=1).logits
    assert logits.shape[1] == 1, "logits_to_keep no longer cuts; revise trl_gift.generation.scoring and compact"


def test_what_generate_is_given_and_gives(model_factory):
    """The reference engine draws in a logits processor and ends rows in a stopping criterion."""
    seen = []

    class Fifth(transformers.LogitsProcessor):
        def __call__(self, input_ids, scores):
            seen.append(tuple(input_ids.shape))
            return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([5]), 0.0)

    class Never(transformers.StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.zeros(len(input_ids), dtype=torch.bool)

    config = transformers.GenerationConfig(
        max_new_tokens=3, do_sample=False, num_beams=1, repetition_penalty=1.0, no_repeat_ngram_size=0,
        eos_token_id=[0], pad_token_id=0,
    )  # fmt: skip
    ids = torch.tensor([[7, 8]])
    output = model_factory().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config,
        logits_processor=transformers.LogitsProcessorList([Fifth()]),
        stopping_criteria=transformers.StoppingCriteriaList([Never()]),
    )  # fmt: skip
    changed = "generate() works otherwise; revise trl_gift.generation.generate"
    assert output.tolist() == [[7, 8, 5, 5, 5]], changed
    assert seen == [(1, 2), (1, 3), (1, 4)], changed


def test_configs_say_what_a_model_is(model_factory):
    """Read by the compact engine (which models it takes) and by `trl-gift estimate`."""
    for kind in ("llama", "qwen2", "gpt2"):
        config = model_factory(kind=kind).config.get_text_config()
        for name in ("vocab_size", "num_hidden_layers", "num_attention_heads", "hidden_size", "name_or_path"):
            try:
                operator.attrgetter(name)(config)
            except AttributeError:
                pytest.fail(f"{type(config).__name__} no longer answers to {name}; revise trl_gift.estimate.model")
    assert "layer_types" in transformers.Qwen2Config().to_dict(), "compact tells sliding windows by `layer_types`"
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert all(parameter.is_meta for parameter in model.parameters()), "estimate counts on the meta device"


# Tokenizers (trl_gift.prompts, trl_gift.generation.stops) --------------------------------------------------------------


def test_tokenizers_and_chat_templates(tokenizer):
    changed = "tokenizers answer otherwise; revise trl_gift.prompts and trl_gift.generation.decoding"
    ids = tokenizer("def f(x):\n    return x", add_special_tokens=False)["input_ids"]
    assert isinstance(ids, list), changed
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert text == "def f(x):\n    return x", changed
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
    )
    messages = [{"role": "user", "content": "hello"}]
    encoded = tokenizer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert tokenizer.decode(encoded["input_ids"]) == "<user>hello<a>", changed


# peft (trl_gift.generation.server.hosting, trl_gift.estimate) -----------------------------------------------------------------


def test_adapters(tmp_path, model_factory):
    model = peft.get_peft_model(model_factory(), peft.LoraConfig(r=4, target_modules="all-linear"))
    config = model.peft_config[model.active_adapter]
    assert isinstance(config, peft.LoraConfig), (
        "the active adapter's config is read in trl_gift.generation.server.hosting"
    )
    assert config.r == 4
    assert "base_model_name_or_path" in vars(config), "serving loads the base model by it"
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(os.listdir(tmp_path)), "serving exports these"
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    layers = [name for name, _ in model.named_modules() if name.endswith(".base_layer")]
    assert layers, "estimate.model tells adapted layers by `.base_layer`"
    assert all(name.startswith("base_model.model.") for name in layers), "estimate.model takes this prefix off"
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained, "nothing is trainable"
    assert all("lora_" in name for name in trained), "rounds go back to the base by the trainable parameters alone"


# datasets (trl_gift.tasks, trl_gift.training.rounds) ----------------------------------------------------------------------------


def test_datasets():
    takes(datasets.load_dataset, "path", "name", "split", used_in="trl_gift.tasks.loaders")
    rows = [{"task_id": "a", "tests": ["assert f() == 1"]}, {"task_id": "b", "tests": []}]
    assert list(datasets.Dataset.from_list(rows)) == rows, (
        "rows come out as they went in; revise trl_gift.tasks.loaders"
    )
    streamed = datasets.Dataset.from_list(rows).to_iterable_dataset()
    assert list(streamed) == rows, "streamed rows differ from rows; revise trl_gift.tasks.loaders"


# bitsandbytes (trl_gift.training.quantization) ----------------------------------------------------------------------------------


def test_four_bit_layers_can_be_kept_from_repacking():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(8, 8)
    assert "support_avx512bf16_for_cpu" in vars(layer), (
        "bitsandbytes has another switch for repacking 4-bit layers on a CPU; revise trl_gift.training.quantization"
    )
    takes(
        transformers.BitsAndBytesConfig.__init__, "load_in_4bit", "load_in_8bit", "bnb_4bit_use_double_quant",
        used_in="trl_gift.estimate.model",
    )  # fmt: skip
    options = transformers.BitsAndBytesConfig(load_in_4bit=True).to_dict()
    assert {"load_in_8bit", "bnb_4bit_use_double_quant"} <= options.keys(), "revise trl_gift.estimate.model"


# Our own promises ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["trl_gift", "trl_gift.sandbox", "trl_gift.tasks", "trl_gift.playground"])
def test_imports_stay_light(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'trl') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_all_names_are_there():
    for name in trl_gift.__all__:
        assert getattr(trl_gift, name)
    with pytest.raises(AttributeError, match="nonsense"):
        trl_gift.nonsense


def test_our_methods_override_what_they_mean_to_override_alone():
    """A method of ours with the name of one of transformers' or TRL's would silently take its place."""
    from trl_gift.trainer import GiFTTrainer

    ours = [cls for cls in GiFTTrainer.__mro__ if cls.__module__.startswith("trl_gift")]
    names = {name for cls in ours for name in vars(cls) if not name.startswith("__")}
    inherited = {name for name in names if any(name in vars(cls) for cls in trl.SFTTrainer.__mro__)}
    assert inherited == {
        "_init_training_state",
        "_name",
        "_paper",
        "_push_from_checkpoint",
        "_tag_names",
        "create_model_card",
        "evaluate",
        "get_batch_samples",
        "init_hf_repo",
        "log",
        "predict",
        "push_to_hub",
        "save_model",
        "train",
    }
