"""What ends a completion besides an end token, looked for as tokens arrive: stop texts, and the end of the program."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from trl_gift.codetext import fenced_blocks
from trl_gift.generation.engine import SamplingParams

# A block that names no language may be a sample of input.
_PYTHON_TAGS = ("python", "py")


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
    """Follows one completion and says when a stop text, or the closing fence of its program, is complete."""

    __slots__ = ("_fence", "_keep", "_parts", "_search", "_tail", "_texts")

    def __init__(self, texts: TokenTexts, params: SamplingParams) -> None:
        self._texts = texts
        self._search = _searcher(params.stop)
        self._keep = max((len(item) for item in params.stop), default=1) - 1
        self._tail = ""
        self._fence = params.fence
        self._parts: list[str] = []

    def copy(self) -> StopFinder:
        """One for a completion that is the same so far."""
        other = StopFinder.__new__(StopFinder)
        other._texts, other._search, other._keep, other._tail = self._texts, self._search, self._keep, self._tail
        other._fence, other._parts = self._fence, list(self._parts)
        return other

    def add(self, token: int) -> bool:
        """Takes the next token; True once the completion has ended."""
        if self._search is None and self._fence is None:
            return False
        new = self._texts[token]
        if self._fence is not None:
            self._parts.append(new)
            if "`" in new and _fence_end("".join(self._parts), self._fence) is not None:
                return True
        if self._search is None:
            return False
        text = self._tail + new
        # Only what could be the beginning of a stop text has to be kept.
        self._tail = text[-self._keep :] if self._keep else ""
        return self._search(text) is not None


def text_end(text: str, params: SamplingParams) -> int | None:
    """Where the first stop text begins or the closing fence ends, whichever comes first; None if there is neither."""
    ends = [place for place in (text.find(item) for item in params.stop) if place >= 0]
    if params.fence is not None and (closed := _fence_end(text, params.fence)) is not None:
        ends.append(closed)
    return min(ends, default=None)


def _fence_end(text: str, needed: str) -> int | None:
    """The end of the first closed Python fence that holds `needed`; other fences may stand before it."""
    blocks = fenced_blocks(text, strings="open")
    return next(
        (block.end for block in blocks if block.closed and block.tag in _PYTHON_TAGS and needed in block.code), None
    )


@lru_cache(maxsize=64)
def _searcher(stop: tuple[str, ...]) -> Callable[[str], re.Match[str] | None] | None:
    """Finds any of the stop texts; None if there are none."""
    return re.compile("|".join(map(re.escape, stop))).search if stop else None
