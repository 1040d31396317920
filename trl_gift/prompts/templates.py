"""A tokenizer's chat template: rendered with a fixed date, with the question where the template looks for it.

Templates differ in what they take: some read a message's content as text, some as a list of parts, some need a system
message and some refuse one. What a template does is found out by rendering a probe, never by reading its source.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trl_gift.errors import ConfigError
from trl_gift.prompts.tokens import end_token, special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "4bcf8e1d"
"""Takes the place of a message when a template is asked where it puts that message, and what it puts after it."""

Message = tuple[str, str]
"""A role and a text."""

# Templates print today's date by this function of the renderer, which takes a format.
_TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<format>[^"'\\]*)(?P=quote)\s*\)""")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A chat template as one model's prompts use it.

    Attributes:
        tokenizer: The tokenizer.
        arguments: Further arguments of the template.
        source: The template, with the date in the place of the calls that ask for it.
        in_parts: Whether a message's content is given as a list of parts.
        system: Whether the template has a system role.
    """

    tokenizer: PreTrainedTokenizerBase
    arguments: Mapping[str, Any]
    source: str
    in_parts: bool = False
    system: bool = False

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True) -> str:
        """The text of a conversation.

        Args:
            messages: The messages. A system message comes first; without a system role it precedes the first question.
            add_generation_prompt: Whether the text goes on to where an answer begins.

        Raises:
            ConfigError: if the template cannot be rendered.
        """
        return _rendered(self, self.turns(messages), add_generation_prompt)

    def turns(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages as the template takes them: a system message precedes the first question if there is no such role."""
        if messages[0][0] == "system" and not self.system:
            (_, instructions), (role, question), *rest = messages
            return [(role, f"{instructions}\n\n{question}"), *rest]
        return messages


def find_template(
    tokenizer: PreTrainedTokenizerBase,
    arguments: Mapping[str, Any],
    date: datetime.date | None = None,
    system_prompt: str | None = None,
) -> ChatTemplate:
    """The chat template of a tokenizer, and what it takes.

    Args:
        tokenizer: The tokenizer; must have a chat template.
        arguments: Further arguments of the template.
        date: The date that the template prints where it would print today's; today if not given.
        system_prompt: The system message of all prompts, if there is one.

    Raises:
        ConfigError: if the template cannot be rendered, or leaves out the question.
    """
    source = _source(tokenizer)
    day = date or datetime.date.today()
    dated = _TODAY.sub(lambda call: repr(day.strftime(call["format"])), source)
    system = [("system", system_prompt)] if system_prompt else []
    for in_parts in (False, True):
        plain = ChatTemplate(tokenizer, arguments, dated, in_parts)
        template = replace(plain, system=_takes_system_message(plain))
        with contextlib.suppress(ConfigError):
            if PROBE in template.render([*system, ("user", PROBE)]):
                return template
    plain = ChatTemplate(tokenizer, arguments, dated)
    if not system and _takes_system_message(plain):
        raise ConfigError(
            f"the chat template of {tokenizer.name_or_path!r} needs a system message; set system_prompt, or use "
            "prompt_format='base'."
        )
    plain.render([("user", PROBE)])  # raises the error of the template, if it has one
    raise ConfigError(
        f"the chat template of {tokenizer.name_or_path!r} leaves out the question of a user; check it and "
        "chat_template_kwargs, or use prompt_format='base'."
    )


def prints_date(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether prompts of this tokenizer would hold the day's date."""
    return bool(tokenizer.chat_template) and _TODAY.search(_source(tokenizer)) is not None


def turn_end(template: ChatTemplate, system_prompt: str | None = None) -> int:
    """The token that ends an answer in a chat template, or the tokenizer's end token if the template writes none.

    Raises:
        ConfigError: if the template cannot be rendered, or there is no end token at all.
    """
    tokenizer = template.tokenizer
    system = [("system", system_prompt)] if system_prompt else []
    text = template.render([*system, ("user", "?"), ("assistant", PROBE)], add_generation_prompt=False)
    _, found, suffix = text.rpartition(PROBE)
    special = {*tokenizer.all_special_ids, *special_tokens(tokenizer)}
    after = tokenizer(suffix, add_special_tokens=False)["input_ids"] if found else []
    found_ids = [int(token) for token in after if token in special]
    return found_ids[0] if found_ids else end_token(tokenizer)


def _source(tokenizer: PreTrainedTokenizerBase) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:  # several templates, and none is the default
        names = sorted(tokenizer.chat_template or ())
        raise ConfigError(
            f"{tokenizer.name_or_path!r} has several chat templates and none is called 'default', but {names}; give one by "
            "chat_template_path, or use prompt_format='base'."
        ) from error


def _takes_system_message(template: ChatTemplate) -> bool:
    """Whether the template has a system role: some templates refuse a system message, some leave it out."""
    try:
        return PROBE in replace(template, system=True).render([("system", PROBE), ("user", "?")])
    except ConfigError:
        return False


def _rendered(template: ChatTemplate, messages: Sequence[Message], add_generation_prompt: bool) -> str:
    import jinja2

    conversation: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}] if template.in_parts else text}
        for role, text in messages
    ]
    try:
        return str(
            template.tokenizer.apply_chat_template(
                conversation,
                chat_template=template.source,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **template.arguments,
            )
        )
    except (jinja2.TemplateError, TypeError) as error:
        raise ConfigError(
            f"the chat template of {template.tokenizer.name_or_path!r} cannot be rendered ({error}); check it and "
            "chat_template_kwargs, or use prompt_format='base'."
        ) from error
