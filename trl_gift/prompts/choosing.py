"""Which prompts a model gets: those of a chat model or those of a base model.

Many base models come with the chat template of their chat sibling, but were never trained to end a turn. `"auto"`
therefore takes a model for a chat model only if the token that ends an answer in its template also ends its completions.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from trl_gift.errors import ConfigError
from trl_gift.prompts.base import BasePrompts
from trl_gift.prompts.chat import ChatPrompts
from trl_gift.prompts.edits import EditPrompts, writes_edits
from trl_gift.prompts.pinned import Pinned
from trl_gift.prompts.protocol import PromptFormat
from trl_gift.prompts.templates import find_template, turn_end
from trl_gift.prompts.tokens import end_token, special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def prompt_format(
    tokenizer: PreTrainedTokenizerBase,
    kind: str = "auto",
    *,
    end_ids: Collection[int] | None = None,
    system_prompt: str | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    stop: tuple[str, ...] = (),
    keep_thoughts: bool = False,
    open_answer: bool | None = None,
    pinned: Pinned | None = None,
    rename_entry_point: bool = False,
    date: datetime.date | None = None,
) -> PromptFormat:
    """The prompts for a model; those of edits if its tokenizer has the token of edits.

    Args:
        tokenizer: The model's tokenizer.
        kind: `"chat"`, `"base"`, or `"auto"`, which chooses by the chat template and the tokens that end a completion.
        end_ids: The tokens that end the model's completions; by default the tokenizer's end token.
        system_prompt: As in `ChatPrompts`.
        template_kwargs: As in `ChatPrompts`.
        stop: Texts that end completions besides those of the format.
        keep_thoughts: As in `ChatPrompts`.
        open_answer: As in `ChatPrompts`; not opened by default if the tokenizer has the token of edits.
        pinned: What write prompts show besides the description; one example and the signature if not given.
        rename_entry_point: As in `ChatPrompts`; a base model completes the signature and cannot choose another name.
        date: As in `ChatPrompts`.

    Raises:
        ConfigError: for an unknown `kind`, for `"chat"` with a tokenizer or end tokens that do not fit it, or for a stop
            text that is a special token.
    """
    pinned = pinned or Pinned()
    special = {str(token) for token in special_tokens(tokenizer).values()}
    if hidden := [text for text in stop if text in special]:
        raise ConfigError(
            f"stop={list(stop)!r}: {hidden[0]!r} is a special token of {tokenizer.name_or_path!r} and never part of a text; "
            "name it as eos_token if it ends completions."
        )
    if kind not in ("auto", "base", "chat"):
        raise ConfigError(f"prompt_format={kind!r} is unknown; use 'auto', 'base' or 'chat'.")
    if kind == "chat" and not tokenizer.chat_template:
        raise ConfigError(
            f"prompt_format='chat' needs a tokenizer with a chat template, and {tokenizer.name_or_path!r} has none; "
            "use prompt_format='base', or give one by chat_template_path."
        )
    if kind != "base" and tokenizer.chat_template:
        if open_answer is None and writes_edits(tokenizer):
            open_answer = False  # edits write the whole program; after a signature a model goes on with the body
        end = turn_end(find_template(tokenizer, template_kwargs or {}, date, system_prompt), system_prompt)
        if end in (end_ids if end_ids is not None else {end_token(tokenizer)}):
            chat = ChatPrompts(
                tokenizer,
                system_prompt,
                template_kwargs or {},
                keep_thoughts,
                stop,
                open_answer,
                pinned,
                rename_entry_point,
                date,
            )
            return EditPrompts(chat) if writes_edits(tokenizer) else chat
        name = tokenizer.convert_ids_to_tokens(end)
        if kind == "auto":
            logger.warning(
                "%r is prompted as a base model: its chat template ends an answer with %s, which does not end its "
                "completions. Set eos_token=%r to prompt it as a chat model, or prompt_format='base' to silence this "
                "warning.",
                tokenizer.name_or_path, name, name,
            )  # fmt: skip
        else:
            raise ConfigError(
                f"prompt_format='chat': the chat template ends an answer with {name!r}, which does not end the "
                f"completions of {tokenizer.name_or_path!r}; set eos_token={name!r}, or use prompt_format='base'."
            )
    chat_only = {
        "system_prompt": system_prompt, "chat_template_kwargs": template_kwargs, "train_on_thinking": keep_thoughts,
        "open_answer": open_answer,
    }  # fmt: skip
    for option, value in chat_only.items():
        if value:
            raise ConfigError(
                f"{option}={value!r} needs a chat model, and {tokenizer.name_or_path!r} is prompted as a base model; "
                "leave the option out, or use prompt_format='chat' with the eos_token of its chat template."
            )
    base = BasePrompts(tokenizer, stop, pinned)
    return EditPrompts(base) if writes_edits(tokenizer) else base
