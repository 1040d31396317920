"""The trainer's side of the Hub: cards, `push_to_hub`, pushes during a run.

The options are those of every trainer (`push_to_hub`, `hub_model_id`, `hub_strategy`, `hub_private_repo`, `hub_token`,
`hub_revision`, `hub_always_push`). What differs, and why:

- Only what saving the model writes goes up, laid out in a folder of its own (`trl_gift.hub.files`). A trainer of
  transformers pushes the whole output folder, `training_args.bin` with the local paths and the token included.
- A round's model is pushed once it has been measured, with a card that says so. A model in the middle of a later round
  never replaces that of a finished one; with `hub_strategy="checkpoint"` or `"all_checkpoints"` it is in its checkpoint.
- Pushes in the background run one after the other. One that fails is reported and does not end the training.

The one private method that this overrides is `Trainer._push_from_checkpoint`, which would push the output folder before
a checkpoint is whole. A contract test guards it.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import HfApi, ModelCard
from peft import LoraConfig, PeftModel
from transformers import TrainerCallback

from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.hub.facts import ModelFacts, run_facts
from trl_gift.hub.files import CARD, lay_out_checkpoint, lay_out_model, leave_copy, make_public
from trl_gift.hub.licence import licence_of
from trl_gift.hub.model_card import extend_model_card
from trl_gift.hub.names import hub_name
from trl_gift.hub.samples import SamplesFacts, complete_rounds, lay_out_samples
from trl_gift.prompts import PromptFormat
from trl_gift.run.folder import RunFolder
from trl_gift.sandbox import AssertTests, Case, StdioTests
from trl_gift.tasks import HUB_NAMES, Task
from trl_gift.training.rounds import RoundTrainer

logger = logging.getLogger(__name__)
# What the card shows the model's prompt with; a seed's own words may not be ours to publish.
_FUNCTION = Task("example", "Return the sum of a and b.", AssertTests("assert add(1, 2) == 3"), "def add(a, b):")
_PROGRAM = Task("example", "Read two integers and print their sum.", StdioTests((Case(stdin="1 2", stdout="3"),)))
_LANGUAGES = {"cpp": "C++", "javascript": "JavaScript"}


class PublishingTrainer(RoundTrainer):
    """A trainer of rounds that writes honest cards and pushes what may leave the machine.

    Attributes:
        dataset_name: The Hub's name of the seeds' dataset, for the cards; what is local is not named.
        eval_dataset_name: The same of the dataset that is measured on.
    """

    args: GiFTConfig
    run: RunFolder
    tasks: list[Task]
    prompts: PromptFormat
    dataset_name: str | None = None
    eval_dataset_name: str | None = None
    _samples_repo: str | None = None
    _licence: dict[str, str] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hub = HfApi()
        self._pushes: list[Future[Any]] = []
        self.add_callback(_PushCheckpoints(self))

    def create_model_card(
        self, model_name: str | None = None, dataset_name: str | None = None, tags: str | list[str] | None = None
    ) -> None:
        """Writes `README.md` into the output folder.

        Args:
            model_name: Title of the card; the last part of `hub_model_id` or of the output folder if not given.
            dataset_name: The Hub's name of the seeds' dataset; remembered for later cards.
            tags: Tags for the card, besides those of the method.
        """
        if not self.is_world_process_zero():
            return
        self.dataset_name = dataset_name or self.dataset_name
        given = [tags] if isinstance(tags, str) else list(tags or ())
        model_tags = _plain(self.accelerator.unwrap_model(self.model)).model_tags or ()
        super().create_model_card(model_name=model_name, tags=[*given, *model_tags])
        path = Path(self.args.output_dir) / CARD
        facts = self._model_facts(model_name or self._default_name())
        extend_model_card(ModelCard.load(path), facts, run_facts(self.run)).save(path)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Creates the model's repository and, with `push_samples`, that of the samples, unless they exist.

        Args:
            token: Of the Hub; `hub_token` if not given.
            private: Whether new repositories are private; `hub_private_repo` if not given.

        Raises:
            ConfigError: if the Hub does not let us, or cannot be reached.
        """
        if not self.is_world_process_zero():
            return
        args, hub = self.args, HfApi(token=token or self.args.hub_token)
        private = args.hub_private_repo if private is None else private
        name = args.hub_model_id or Path(args.output_dir).absolute().name
        self.hub_model_id = _create_repo(hub, name, private=private)
        self.push_in_progress = None
        if args.push_samples:
            if args.samples_private is not None:
                private = args.samples_private
            elif private is None:
                private = hub.model_info(self.hub_model_id).private
            name = args.samples_repo_id or f"{self.hub_model_id}-samples"
            self._samples_repo = _create_repo(hub, name, repo_type="dataset", private=private)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Pushes the model or adapter, the tokenizer and the card and, with `push_samples`, the samples dataset.

        To be called on all processes; one pushes.

        Args:
            commit_message: Of the commit.
            blocking: Whether to return only when everything is on the Hub.
            token: Of the Hub; `hub_token` if not given.
            revision: The branch; made if absent. `hub_revision` if not given.
            private: Whether new repositories are private; `hub_private_repo` if not given.
            kwargs: For `create_model_card`: `model_name`, `dataset_name`, `tags`.

        Returns:
            On the main process, the model's `CommitInfo`, or with `blocking=False` a future of it.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.finish_pushes()
        folder = self._save_for_upload("final")
        if not self.is_world_process_zero():
            return None
        leave_copy(folder, Path(self.args.output_dir))
        make_public(folder, self._base_model())
        self._add_card(folder, **kwargs)
        pushed = self._upload(folder, commit_message, token=token, revision=revision)
        if self._samples_repo:
            self._push_samples(self._complete_rounds(), commit_message, token)
        if not blocking:
            return pushed
        wait(self._pushes)
        for push in self._pushes:
            push.result()  # raises what went wrong
        self._pushes.clear()
        return pushed.result()

    def push_round(self, round_index: int) -> None:
        """Pushes a finished round in the background, where `hub_strategy` says so. To be called on all processes."""
        if not self._pushes_during_training:
            return
        folder = self._save_for_upload(f"round-{round_index}")
        if not self.is_world_process_zero():
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        make_public(folder, self._base_model())
        self._add_card(folder)
        message = f"Round {round_index} of {self.args.num_rounds}"
        self._upload(folder, message)
        if self._samples_repo:
            self._push_samples([self.run.round(round_index)], message)

    def finish_pushes(self) -> None:
        """Waits for the pushes in the background; says which failed."""
        wait(self._pushes)
        for push in self._pushes:
            if error := push.exception():
                logger.warning("a push to the Hub failed, push_to_hub() would repeat it: %s", error)
        self._pushes.clear()

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Nothing yet: `_PushCheckpoints` pushes the checkpoint once it is whole."""

    # Parts ------------------------------------------------------------------------------------------------------

    @property
    def _pushes_during_training(self) -> bool:
        return bool(self.args.push_to_hub) and self.args.hub_strategy != "end"

    def _push_checkpoint(self) -> None:
        """Pushes the checkpoint that has just been saved, as `hub_strategy` says."""
        args, step = self.args, self.state.global_step
        is_busy = any(not push.done() for push in self._pushes)
        if not self._pushes_during_training or (is_busy and not args.hub_always_push):
            return
        # The end of a round is pushed when it has been measured.
        with_model = not self._mark().is_end and not self.run.has("round-1/metrics.json")
        with_checkpoint = args.hub_strategy in ("checkpoint", "all_checkpoints")
        if not with_model and not with_checkpoint:
            return
        self.callback_handler.on_push_begin(args, self.state, self.control)
        checkpoint = Path(args.output_dir) / f"checkpoint-{step}"
        folder = self._empty_folder(f"step-{step}")
        if with_model:
            lay_out_model(checkpoint, folder, self._base_model())
            self._add_card(folder)
        if with_checkpoint:
            name = "last-checkpoint" if args.hub_strategy == "checkpoint" else checkpoint.name
            lay_out_checkpoint(checkpoint, folder / name, self._base_model())
        self._upload(folder, f"Training in progress, round {self._mark().round}, step {step}")

    def _push_samples(self, write: Sequence[Path], message: str | None, token: str | None = None) -> None:
        run, rounds = run_facts(self.run), self._complete_rounds()
        if run is None or not rounds:
            return
        facts = SamplesFacts(str(self._samples_repo), str(self.hub_model_id), self._base_model(), self._dataset())
        folder = self._empty_folder(f"samples-{write[-1].name}")
        lay_out_samples(folder, rounds, write, facts, run)
        self._upload(folder, message, token=token, samples=True)

    def _complete_rounds(self) -> list[Path]:
        return complete_rounds(self.run.root)

    def _save_for_upload(self, name: str) -> Path:
        folder = self._empty_folder(name)
        self.accelerator.wait_for_everyone()
        self.save_model(str(folder), _internal_call=True)
        self.accelerator.wait_for_everyone()
        return folder

    def _empty_folder(self, name: str) -> Path:
        """A folder for what is to be pushed; beside the artefacts, so that large files can be linked."""
        uploads = self.run.root / "upload"
        folder = uploads / name
        if self.is_world_process_zero():
            # With nothing on its way, what lies there was left by a process that died.
            shutil.rmtree(folder if self._pushes else uploads, ignore_errors=True)
            folder.mkdir(parents=True)
        return folder

    def _add_card(self, folder: Path, model_name: str | None = None, **kwargs: Any) -> None:
        if self._licence is None:
            self._licence = licence_of(self._base_model(), self._loaded_from(), self.args.hub_token)
        self.create_model_card(model_name=model_name or self._default_name(), **kwargs)
        shutil.copyfile(Path(self.args.output_dir) / CARD, folder / CARD)

    def _upload(
        self,
        folder: Path,
        message: str | None,
        token: str | None = None,
        revision: str | None = None,
        samples: bool = False,
    ) -> Future[Any]:
        """Queues the push of a folder, which is removed afterwards."""
        push = self._hub.run_as_future(
            _upload_and_remove,
            self._hub,
            folder,
            repo_id=str(self._samples_repo if samples else self.hub_model_id),
            repo_type="dataset" if samples else "model",
            commit_message=message,
            token=token or self.args.hub_token,
            revision=None if samples else revision or self.args.hub_revision,
        )
        self._pushes.append(push)
        return push

    def _default_name(self) -> str:
        return Path(self.args.hub_model_id or Path(self.args.output_dir).absolute()).name

    def _loaded_from(self) -> str:
        return str(self.accelerator.unwrap_model(self.model).config.name_or_path)

    def _base_model(self) -> str | None:
        return hub_name(self._loaded_from())

    def _dataset(self) -> str | None:
        return _dataset_on_hub(self.dataset_name)

    def _model_facts(self, name: str) -> ModelFacts:
        model = self.accelerator.unwrap_model(self.model)
        base_model = self._base_model()
        languages = {task.language for task in self.tasks}
        return ModelFacts(
            name=name,
            repo_id=self.hub_model_id,
            base_model=base_model,
            base_text=f"a `{type(_plain(model)).__name__}`",
            licence=self._licence or {},
            dataset=self._dataset(),
            eval_dataset=_dataset_on_hub(self.eval_dataset_name),
            samples_repo=self._samples_repo,
            adapter=_adapter_in_words(model),
            quantization=_quantization_in_words(model.config.to_dict().get("quantization_config")),
            prompt=self._example_prompt(),
            training=self._training_in_words(),
            programming_language=_language_name(languages.pop()) if len(languages) == 1 else None,
        )

    def _example_prompt(self) -> str:
        task = _FUNCTION if any(task.signature for task in self.tasks) else _PROGRAM
        return str(self.processing_class.decode(self.prompts.write(task, task.description)))

    def _training_in_words(self) -> dict[str, str]:
        args = self.args
        plain = args.to_dict()  # enumerations by their values
        batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        passes = "1 epoch" if args.num_train_epochs == 1 else f"{args.num_train_epochs:g} epochs"
        length = f"{args.max_steps} steps" if args.max_steps > 0 else passes
        warmup = f"{args.warmup_steps:g}" + (" of the steps" if 0 < args.warmup_steps < 1 else " steps")
        return {
            "Each round's training": f"{length}, {batch} pairs a step, at most {args.max_length} tokens a pair",
            "Optimizer": f"`{plain['optim']}`, weight decay {args.weight_decay:g}, gradients clipped at "
            f"{args.max_grad_norm:g}",
            "Learning rate": f"{args.learning_rate:g}, schedule `{plain['lr_scheduler_type']}`, warm-up {warmup}",
            "Precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
            "Seed": str(args.seed)
            + ("" if args.sampling_seed == args.seed else f", of sampling {args.sampling_seed}"),
        }


class _PushCheckpoints(TrainerCallback):
    """Pushes checkpoints after `RoundTrainer` has marked them as whole."""

    def __init__(self, trainer: PublishingTrainer) -> None:
        self._trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._trainer._push_checkpoint()


def _create_repo(hub: HfApi, name: str, **options: Any) -> str:
    # A future, because no two failures of the Hub and the way to it have a type in common.
    creating = hub.run_as_future(hub.create_repo, name, exist_ok=True, **options)
    if error := creating.exception():
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"the Hub lets us make no repository {name!r}: {reason} Log in with `hf auth login` or give hub_token, choose "
            "a name of your own (hub_model_id, samples_repo_id), or leave out push_to_hub."
        ) from error
    return str(creating.result().repo_id)


def _upload_and_remove(hub: HfApi, folder: Path, *, revision: str | None, **where: Any) -> Any:
    try:
        if revision and not revision.startswith("refs/"):
            branch = {name: where[name] for name in ("repo_id", "repo_type", "token")}
            hub.create_branch(branch=revision, exist_ok=True, **branch)
        return hub.upload_folder(folder_path=folder, revision=revision, **where)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def dataset_origin(dataset: object) -> str | None:
    """The Hub's name of what a dataset was loaded from, by the folder of the cache that its rows lie in."""
    if not isinstance(dataset, datasets.Dataset):
        return None
    folders = {part for file in dataset.cache_files for part in Path(file["filename"]).parts if "___" in part}
    return folders.pop().replace("___", "/", 1) if len(folders) == 1 else None


def _dataset_on_hub(name: str | None) -> str | None:
    name = name.partition("@")[0] if name else None  # of a revision
    return hub_name(HUB_NAMES[name][0] if name in HUB_NAMES else name)


def _language_name(language: str) -> str:
    return _LANGUAGES.get(language, language.capitalize())


def _plain(model: Any) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _adapter_in_words(model: Any) -> str | None:
    if not isinstance(model, PeftModel):
        return None
    config = model.active_peft_config
    if not isinstance(config, LoraConfig):
        return str(config.peft_type.value)
    kind = "".join([" (rank-stabilised)" * config.use_rslora, " (DoRA)" * config.use_dora])
    modules = config.target_modules or []
    named = modules if isinstance(modules, str) else ", ".join(sorted(modules))
    return f"LoRA{kind}, r = {config.r}, alpha = {config.lora_alpha}, dropout {config.lora_dropout:g}, on {named}"


def _quantization_in_words(config: dict[str, Any] | None) -> str | None:
    match config:
        case None:
            return None
        case {"load_in_4bit": True, "bnb_4bit_quant_type": kind}:
            return f"quantised to 4 bits ({kind})"
        case {"load_in_8bit": True}:
            return "quantised to 8 bits"
        case _:
            return f"quantised ({config.get('quant_method', 'unknown')})"
