"""The publisher: writes the cards of a run and pushes what may leave the machine.

`GiFTTrainer` holds one; it knows no trainer. The options are those of every trainer (`push_to_hub`, `hub_model_id`,
`hub_strategy`, `hub_private_repo`, `hub_token`, `hub_revision`, `hub_always_push`). What differs, and why:

- A push uploads only what saving the model writes, laid out in a folder of its own (`trl_gift.hub.files`). A trainer of
  transformers pushes the whole output folder, `training_args.bin` with the local paths and the token included.
- A round's model is pushed once it has been measured, with a card that says so. A model in the middle of a later round
  never replaces that of a finished one; with `hub_strategy="checkpoint"` or `"all_checkpoints"` it is in its checkpoint.
- Pushes in the background run one after the other. One that fails is reported and does not end the training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from huggingface_hub import ModelCard
from transformers import PreTrainedTokenizerBase, TrainerCallback

from trl_gift.common.files import write_text
from trl_gift.config import GiFTConfig
from trl_gift.hub import describe
from trl_gift.hub.facts import ModelFacts, run_facts
from trl_gift.hub.files import CARD, lay_out_checkpoint, lay_out_model, leave_copy, make_public
from trl_gift.hub.licence import licence_of
from trl_gift.hub.model_card import model_card
from trl_gift.hub.names import dataset_hub_name, hub_name
from trl_gift.hub.repositories import Repositories
from trl_gift.hub.samples import complete_rounds, lay_out_samples
from trl_gift.hub.samples_card import SamplesFacts
from trl_gift.hub.uploads import Uploads
from trl_gift.prompts import EditPrompts, PromptFormat
from trl_gift.run.folder import RunFolder
from trl_gift.tasks import Task
from trl_gift.training.rounds import end_checkpoint, last_checkpoint, read_checkpoint


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a publisher lets its trainer do.

    Attributes:
        save_model: Saves the model and the tokenizer into a folder; called on all processes.
        create_model_card: Writes `README.md` into the output folder. Takes `model_name`, `dataset_name` and `tags`.
        on_push_begin: Tells the trainer's callbacks that a push begins.
    """

    save_model: Callable[[str], None]
    create_model_card: Callable[..., None]
    on_push_begin: Callable[[], object]


class Publisher:
    """Writes the cards of a run and pushes what may leave the machine.

    Args:
        args: The run's options.
        accelerator: The processes, which save together; the main one pushes.
        model: The model that is trained, unwrapped.
        tokenizer: Its tokenizer.
        prompts: The form of its prompts; a card shows an example.
        tasks: The tasks that are trained on.
        run: The run's folder.
        repositories: Names of the repositories on the Hub.
        hooks: What the trainer does for the publisher.

    Attributes:
        dataset_name: What the training tasks were loaded from, for the cards; local files are not named there.
        eval_dataset_name: The same for the tasks that are measured on.
        saved_model: The folder that the model has been saved into, as it is now; None if it has not been saved.
    """

    def __init__(
        self,
        args: GiFTConfig,
        accelerator: Accelerator,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        prompts: PromptFormat,
        tasks: Sequence[Task],
        run: RunFolder,
        repositories: Repositories,
        hooks: Hooks,
    ) -> None:
        self.dataset_name: str | None = None
        self.eval_dataset_name: str | None = None
        self.saved_model: Path | None = None
        self._args = args
        self._accelerator = accelerator
        self._model = model
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._tasks = tasks
        self._run = run
        self._repositories = repositories
        self._hooks = hooks
        self._uploads = Uploads(run.root / "upload")
        self._licence: dict[str, str] | None = None

    @property
    def model_tags(self) -> list[str]:
        """Tags that the model brings along."""
        return list(describe.plain_model(self._model).model_tags or ())

    def complete_card(self, model_name: str | None) -> None:
        """Replaces the card that TRL has written into the output folder by one that says what the run has recorded.

        Args:
            model_name: Title of the card; the model's name on the Hub if not given.
        """
        self._write_card(self._output_dir, model_name)

    def copy_card(self, folder: Path) -> None:
        """Writes the card of the output folder into another folder that holds the model, with that folder in its snippet."""
        self._write_card(folder, None)

    def push(
        self,
        commit_message: str | None,
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        **card: Any,
    ) -> Any:
        """Pushes the model as it is, its card and, with `push_samples`, the samples. To be called on all processes.

        Args:
            commit_message: Message of the commits.
            blocking: Whether to return only when everything is on the Hub.
            token: The token for the Hub; `hub_token` if not given.
            revision: The model's branch, made if absent; `hub_revision` if not given.
            card: For `create_model_card`.

        Returns:
            On the main process the model's `CommitInfo`, or with `blocking=False` a future of it; None on the others.
        """
        self.finish()
        folder = self._save("final")
        if not self._accelerator.is_main_process:
            return None
        leave_copy(folder, Path(self._args.output_dir))
        make_public(folder, self._base_model())
        self._add_card(folder, **card)
        pushed = self._push_folder(folder, commit_message, token, revision)
        self._push_samples(complete_rounds(self._run.root), commit_message, token)
        if not blocking:
            return pushed
        self._uploads.finish_or_raise()
        return pushed.result()

    def push_round(self, round_index: int) -> None:
        """Pushes a finished round in the background, if `hub_strategy` says so. To be called on all processes."""
        if not self._pushes_during_training:
            return
        folder = self._save(f"round-{round_index}")
        if not self._accelerator.is_main_process:
            return
        self._hooks.on_push_begin()
        make_public(folder, self._base_model())
        self._add_card(folder)
        message = f"Round {round_index} of {self._args.num_rounds}"
        self._push_folder(folder, message)
        self._push_samples([self._run.round(round_index)], message)

    def push_checkpoint(self, step: int) -> None:
        """Pushes a checkpoint in the background, if `hub_strategy` says so. To be called on the main process.

        Args:
            step: The global step at which the checkpoint was saved.
        """
        args = self._args
        if not self._pushes_during_training or (self._uploads.is_busy and not args.hub_always_push):
            return
        checkpoint = read_checkpoint(Path(args.output_dir) / f"checkpoint-{step}")
        assert checkpoint is not None, "checkpoints are pushed once they are complete"
        # The model at the end of a round is pushed when it has been measured.
        with_model = not checkpoint.mark.is_end and not self._run.has("round-1/metrics.json")
        with_checkpoint = args.hub_strategy in ("checkpoint", "all_checkpoints")
        if not with_model and not with_checkpoint:
            return
        self._hooks.on_push_begin()
        folder = self._uploads.new_folder(f"step-{step}")
        if with_model:
            lay_out_model(checkpoint.path, folder, self._base_model())
            self._add_card(folder)
        if with_checkpoint:
            name = "last-checkpoint" if args.hub_strategy == "checkpoint" else checkpoint.path.name
            lay_out_checkpoint(checkpoint.path, folder / name, self._base_model())
        self._push_folder(folder, f"Training in progress, round {checkpoint.mark.round}, step {step}")

    def finish(self) -> None:
        """Waits for the pushes in the background and warns about those that failed."""
        self._uploads.finish()

    # Parts ------------------------------------------------------------------------------------------------------

    @property
    def _pushes_during_training(self) -> bool:
        return bool(self._args.push_to_hub) and self._args.hub_strategy != "end"

    @property
    def _output_dir(self) -> Path:
        return Path(self._args.output_dir)

    def _write_card(self, folder: Path, model_name: str | None, public: bool = False) -> None:
        card = ModelCard.load(self._output_dir / CARD)
        facts = self._model_facts(model_name or self._repositories.model_name, None if public else folder)
        write_text(folder / CARD, str(model_card(card, facts, run_facts(self._run))))

    def _weights_folder(self, folder: Path) -> Path:
        """The folder, if it holds a model; else the checkpoint of the final round in it, or the latest."""
        if any(folder.glob("*.safetensors")):
            return folder
        final = self._run.final_round
        checkpoint = end_checkpoint(folder, self._run.key, final) if final else None
        checkpoint = checkpoint or last_checkpoint(folder)
        return checkpoint.path if checkpoint else folder

    def _save(self, name: str) -> Path:
        """Saves the model into a folder for an upload; returns when every process has saved its part."""
        is_main = self._accelerator.is_main_process
        folder = self._uploads.new_folder(name) if is_main else self._uploads.path(name)
        self._accelerator.wait_for_everyone()
        self._hooks.save_model(str(folder))
        self._accelerator.wait_for_everyone()
        return folder

    def _add_card(self, folder: Path, model_name: str | None = None, **card: Any) -> None:
        if self._licence is None:
            self._licence = licence_of(self._base_model(), self._loaded_from(), self._args.hub_token)
        self._hooks.create_model_card(model_name=model_name or self._repositories.model_name, **card)
        self._write_card(folder, model_name, public=True)

    def _push_folder(
        self, folder: Path, message: str | None, token: str | None = None, revision: str | None = None
    ) -> Future[Any]:
        args = self._args
        return self._uploads.start(
            folder,
            str(self._repositories.model),
            message,
            repo_type="model",
            token=token or args.hub_token,
            revision=revision or args.hub_revision,
        )

    def _push_samples(self, rounds: Sequence[Path], message: str | None, token: str | None = None) -> None:
        """Pushes the samples of the given rounds, and a card that counts those of all complete rounds."""
        repo_id, run, complete = self._repositories.samples, run_facts(self._run), complete_rounds(self._run.root)
        if repo_id is None or run is None or not complete:
            return
        dataset = dataset_hub_name(self.dataset_name)
        facts = SamplesFacts(repo_id, str(self._repositories.model), self._base_model(), dataset)
        folder = self._uploads.new_folder(f"samples-{rounds[-1].name}")
        lay_out_samples(folder, complete, rounds, facts, run)
        token = token or self._args.hub_token
        self._uploads.start(folder, repo_id, message, repo_type="dataset", token=token, revision=None)

    def _loaded_from(self) -> str:
        return str(self._model.config.name_or_path)

    def _base_model(self) -> str | None:
        return hub_name(self._loaded_from())

    def _model_facts(self, name: str, folder: Path | None) -> ModelFacts:
        """The facts for a card.

        Args:
            name: Title of the card.
            folder: The folder that the card lies in; None for a card that is published.
        """
        repo_id, base_model = self._repositories.model, self._base_model()
        # The descriptions of a dataset, which may be private, are not published.
        shows_task = folder is not None
        example = self._tasks[0] if shows_task else describe.example_task(self._tasks)
        if folder is None:
            location, base_location = repo_id or "path/to/this/model", base_model or "path/to/the/base/model"
        else:
            location = str((self.saved_model or self._weights_folder(folder)).resolve())
            base_location = base_model or str(Path(self._loaded_from()).resolve())
        return ModelFacts(
            name=name,
            repo_id=repo_id,
            location=location,
            base_location=base_location,
            base_model=base_model,
            base_text=describe.base_in_words(self._model, self._loaded_from()),
            licence=self._licence or {},
            dataset=dataset_hub_name(self.dataset_name),
            eval_dataset=dataset_hub_name(self.eval_dataset_name),
            samples_repo=self._repositories.samples,
            adapter=describe.adapter_in_words(self._model),
            quantization=describe.quantization_in_words(self._model),
            completion_length=self._args.completion_length,
            prompt=str(self._tokenizer.decode(self._prompts.write(example, example.description).ids)),
            shows_task=shows_task,
            training=describe.training_in_words(self._args),
            programming_language=describe.language_of(self._tasks),
            writes_edits=isinstance(self._prompts, EditPrompts),
            num_embeddings=describe.num_embeddings(self._model),
        )


class PushCheckpoints(TrainerCallback):
    """Pushes checkpoints; comes after the callback of `RoundTrainer` that marks them as complete.

    Args:
        publisher: What pushes them.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pushes the checkpoint that has just been saved."""
        if state.is_world_process_zero:
            self._publisher.push_checkpoint(state.global_step)
