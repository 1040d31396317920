"""Training on edits (LintSeq, arXiv 2410.02749): the token of edits in tokenizer and model, and targets in the form of edits.

The token is added once, before there is an adapter. Its row begins near the row of the token with which whole programs begin. It is
trained with all weights, or beside a LoRA adapter as one trainable token, which peft saves with the adapter, loads, and merges. A
model that has the token already trains it in the same way.
"""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from transformers import AddedToken

from trl_gift.common.randomness import stream_key
from trl_gift.errors import ConfigError
from trl_gift.lintseq import DIFF_TOKEN, HunkError, ProgramError, resolve, sample_edit_sequences, to_text
from trl_gift.prompts import EditPrompts
from trl_gift.prompts.edits import check_edits, writes_edits
from trl_gift.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_NEARNESS = 0.75
"""Share of the way from the mean of all rows to that of the opening token. A logit is linear in the row, so the gap is a quarter."""

_OPENED = Task("opening", "Returns x.", None, "def same(x):", "def same(x):\n    return x\n")


def add_edit_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Adds the token of edits to a tokenizer; returns whether it was new.

    It is no special token: decoding would drop it.

    Raises:
        ConfigError: for a tokenizer that does not give back texts of edits as they were.
    """
    is_new = not writes_edits(tokenizer)
    if is_new:
        tokenizer.add_tokens([AddedToken(DIFF_TOKEN, special=False, normalized=False)])
    check_edits(tokenizer)
    return is_new


def opening_token(prompts: EditPrompts) -> int:
    """The token with which whole programs begin: of a chat model the fence, of a base model what a body begins with.

    Args:
        prompts: The prompts of a model whose tokenizer has the token of edits.
    """
    target = str(prompts.target(_OPENED, str(_OPENED.reference))).removeprefix(prompts.whole.no_thought)
    return int(prompts.whole.tokenizer(target, add_special_tokens=False)["input_ids"][0])


@torch.no_grad()
def add_edit_row(model: PreTrainedModel, prompts: EditPrompts) -> None:
    """Gives a model a row for the token of edits, in the embedding and in the output layer.

    It begins on the way from the mean of all rows to the row of the token with which whole programs begin. A row at the mean gives
    the token a logit so far below that one's that a short training writes no edits at all. A row equal to the other one would let half
    of the programs begin with edits before the model has learned any.

    Args:
        model: A model without an adapter.
        prompts: Its prompts, whose tokenizer has just got the token.

    Raises:
        ConfigError: for a model with an adapter, or whose embedding is sharded.
    """
    if isinstance(model, PeftModel):
        raise ConfigError(
            "target_format='edits' adds a token, and the model has an adapter already; give the base model and peft_config."
        )
    place = int(prompts.whole.tokenizer.convert_tokens_to_ids(DIFF_TOKEN))
    rows = model.get_input_embeddings().weight.shape[0]
    if rows == 0:
        raise ConfigError(
            "target_format='edits' adds a token, and DeepSpeed ZeRO-3 has sharded the embedding already; use ZeRO-2, FSDP or DDP, or a "
            "model whose tokenizer has the token."
        )
    if rows <= place:
        model.resize_token_embeddings(place + 1, mean_resizing=False)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    # Tied weights are one parameter; an output layer may have a bias besides.
    weights = {id(weight): weight for layer in layers for weight in layer.parameters(recurse=False)}
    opening = opening_token(prompts)
    for weight in weights.values():
        weight[place] = weight[:place].float().mean(dim=0).lerp(weight[opening].float(), _NEARNESS).to(weight.dtype)


def training_edit_token(
    adapter: PeftConfig | None, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> PeftConfig | None:
    """The adapter with the token of edits among what it trains; unchanged where embedding and output layer are trained anyway.

    Args:
        adapter: What the user has given; None to train all weights.
        model: The model, which has a row for the token.
        tokenizer: Its tokenizer.

    Raises:
        ConfigError: for an adapter that is not LoRA, or an output layer with a bias.
    """
    # An adapter that the model has already says itself what is trained.
    if adapter is None or isinstance(model, PeftModel):
        return adapter
    if not isinstance(adapter, LoraConfig):
        raise ConfigError(
            f"target_format='edits' trains a token, and peft trains single tokens beside LoRA alone, not beside {type(adapter).__name__}; "
            "use a LoraConfig."
        )
    named = {id(module): name for name, module in model.named_modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    place = int(tokenizer.convert_tokens_to_ids(DIFF_TOKEN))
    if "bias" in dict(head.named_parameters(recurse=False)):
        raise ConfigError(
            "target_format='edits' trains a token, and peft cannot train single tokens of an output layer that has a bias, as that of "
            f"{type(model).__name__}; train all weights."
        )
    # peft lets tied layers share what it trains.
    layers = [embedding] if head.weight is embedding.weight else [embedding, head]
    targets = [adapter.target_modules] if isinstance(adapter.target_modules, str) else adapter.target_modules or ()
    trained = {name.rpartition(".")[2] for name in (*targets, *(adapter.modules_to_save or ()))}
    given = adapter.trainable_token_indices or {}
    indices = dict(given) if isinstance(given, dict) else {named[id(embedding)]: list(given)}
    for layer in layers:
        name = named[id(layer)]
        if name.rpartition(".")[2] not in trained:
            known = next((key for key in indices if name.endswith(key)), name)
            indices[known] = sorted({*indices.get(known, ()), place})
    fitting = copy.copy(adapter)
    fitting.trainable_token_indices = indices or None
    return fitting


def save_single_tokens(model: torch.nn.Module) -> None:
    """Lets a model save the tokens that its adapter trains, and not embedding and output layer whole.

    peft saves these layers where the model has more tokens than its base, which may be more than all the rest of the adapter.

    Args:
        model: A model whose base differs by the token of edits alone from the one that its `name_or_path` names. Left as it is if it
            has no adapter, or one that changes these layers by other means than single tokens.
    """
    if not isinstance(model, PeftModel):
        return
    config = model.active_peft_config
    indices = config.trainable_token_indices if isinstance(config, LoraConfig) else None
    if not isinstance(indices, dict):
        return
    base = model.get_base_model()
    layers = {id(layer) for layer in (base.get_input_embeddings(), base.get_output_embeddings())}
    names = [name for name, module in base.named_modules() if id(module) in layers]
    tied = bool(base.config.get_text_config().tie_word_embeddings)
    trained = [name for name in names if any(name.endswith(key) for key in indices)]
    if len(trained) == len(names) or (tied and trained):
        model.save_pretrained = functools.partial(model.save_pretrained, save_embedding_layers=False)


def ready_for_fused_loss(model: torch.nn.Module) -> None:
    """Gives output layers of which single tokens are trained the attribute `bias`, which TRL's loss reads and peft's wrapper lacks.

    Args:
        model: The model as TRL has prepared it. Output layers with a bias are refused before.
    """
    for module in model.modules():
        wraps = type(module).__name__ == "TrainableTokensWrapper"  # not public
        if wraps and isinstance(module.original_module, torch.nn.Linear):
            module.register_parameter("bias", None)


def edit_targets(prompts: EditPrompts, task: Task, code: str, num_targets: int, seed: int) -> tuple[str, ...]:
    """Targets in the form of edits, each of which resolves to exactly `code`.

    Args:
        prompts: The prompts of the model.
        task: The task.
        code: The program.
        num_targets: How many; each is an edit sequence of its own.
        seed: The run's; with the task and the program it decides all draws.

    Returns:
        The targets; none for a program that has no edit sequences, because it does not compile or is too long. A text that would
        resolve to anything else than the program is left out, so that the pairs count it as unfit.
    """
    own = stream_key("edit sequences", seed, task.task_id, code)
    try:
        sequences = sample_edit_sequences(code, num_targets, own)
    except ProgramError:
        return ()
    texts = (to_text(sequence) for sequence in sequences)
    return tuple(prompts.edit_target(text) for text in texts if _resolves_to(text, code))


def _resolves_to(text: str, code: str) -> bool:
    try:
        return resolve(text) == code
    except HunkError:
        return False
