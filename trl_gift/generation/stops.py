"""Stop texts, looked for as tokens arrive, without decoding a completion again at every token."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from transformers import PreTrainedTokenizerBase


class TokenTexts:
    """The text that each token adds after another token, looked up once for each token.

    Tokens are decoded after an anchor: some tokenizers drop the white space of a text's first token. A token that holds part of a
    character decodes to a replacement character, which no stop text contains.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._anchor = list(tokenizer("a", add_special_tokens=False)["input_ids"])
        self._anchor_text = self._decode(self._anchor)
        self._texts: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        text = self._texts.get(token)
        if text is None:
            text = self._decode([*self._anchor, token]).removeprefix(self._anchor_text)
            self._texts[token] = text
        return text

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class StopFinder:
    """Follows one completion and says when a stop text is complete."""

    __slots__ = ("_keep", "_search", "_tail", "_texts")

    def __init__(self, texts: TokenTexts, stop: tuple[str, ...]) -> None:
        self._texts = texts
        self._search = _searcher(stop)
        self._keep = max((len(item) for item in stop), default=1) - 1
        self._tail = ""

    def copy(self) -> StopFinder:
        """One for a completion that is the same so far."""
        other = StopFinder.__new__(StopFinder)
        other._texts, other._search, other._keep, other._tail = self._texts, self._search, self._keep, self._tail
        return other

    def add(self, token: int) -> bool:
        """Takes the next token; True once a stop text stands in the completion."""
        if self._search is None:
            return False
        text = self._tail + self._texts[token]
        # Only what could be the beginning of a stop text has to be kept.
        self._tail = text[-self._keep :] if self._keep else ""
        return self._search(text) is not None


@lru_cache(maxsize=64)
def _searcher(stop: tuple[str, ...]) -> Callable[[str], re.Match[str] | None] | None:
    """Finds any of the stop texts; None if there are none."""
    return re.compile("|".join(map(re.escape, stop))).search if stop else None
