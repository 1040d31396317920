"""The border between prompt and completion: where a prompt may end so that the model continues it with its own tokens.

A model has seen texts in their joint tokenisation. Many tokenizers join characters across the place where a prompt ends:
byte-level BPEs hold a newline and the indentation after it in one token, so after a lone newline token a model has never
seen an indented line. Two rules follow.

- The ids of a prompt and a completion together are those of the joint text. The border is where the ids of the prompt
  and the ids of the joint text part; what the prompt's ids do not cover belongs to the completion.
- A prompt that is sampled from is cut where no expected beginning of a completion would join its last characters. The
  model writes the characters after the cut itself (`Prompt.left`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trl_gift.prompts.protocol import Prompt

# Only the last pre-tokens decide about a border; this many characters hold more than one of them.
_TAIL = 48
# Each description gives its prompt another tail, so what is remembered has to be limited.
_REMEMBERED = 4096

BODY_BEGINNINGS = tuple(f"    {line}" for line in ("return x", "x = 1", "if x:", "for x in y:", "# x", "import x"))
"""Expected beginnings of the body of a pinned function."""

PROGRAM_BEGINNINGS = ("import x", "def f(x):", "n = int(input())", "print(x)", "# x")
"""Expected beginnings of a whole program."""

TEXT_BEGINNINGS = ("The", "Return", "Given a list", "`x`", "a", "1")
"""Expected beginnings of a description."""

ANSWER_BEGINNINGS = ("```python\n", "```\n", "Here", "The", "<think>", "def f(x):", "import x")
"""Expected beginnings of the answer of a chat model."""


class Border:
    """Cuts prompts and splits joint texts as one tokenizer needs it.

    Args:
        encode: Token ids of a text, as a prompt begins: with the special tokens that precede every text.
    """

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        # By tail and beginnings.
        self._cuts: dict[tuple[str, tuple[str, ...]], int] = {}

    def prompt(
        self, text: str, beginnings: tuple[str, ...], stop: tuple[str, ...] = (), fence: str | None = None
    ) -> Prompt:
        """The prompt of a text, cut where none of `beginnings` would join its end.

        Args:
            text: The whole text of the prompt.
            beginnings: How completions begin.
            stop: As in `Prompt`.
            fence: As in `Prompt`.
        """
        cut = self._cut(text[-_TAIL:], beginnings)
        place = len(text) - cut
        return Prompt(tuple(self._encode(text[:place])), text, text[place:], stop, fence)

    def split(self, prompt: Prompt, target: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of a target after it; together they are the ids of the joint text.

        Args:
            prompt: The prompt; the first list is a beginning of its ids.
            target: The text after the prompt's text.
        """
        joint = self._encode(prompt.text + target)
        border = _common(prompt.ids, joint)
        return joint[:border], joint[border:]

    def _cut(self, tail: str, beginnings: tuple[str, ...]) -> int:
        """How many of the last characters are left to the completion."""
        known = self._cuts.get((tail, beginnings))
        if known is not None:
            return known
        joint = [self._encode(tail + beginning) for beginning in beginnings]
        found = 0
        for cut in range(len(tail)):
            ids = self._encode(tail[: len(tail) - cut])
            if all(_common(ids, text) == len(ids) for text in joint):
                found = cut
                break
        if len(self._cuts) >= _REMEMBERED:
            self._cuts.clear()
        self._cuts[tail, beginnings] = found
        return found


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning."""
    shorter = min(len(first), len(second))
    return next((place for place in range(shorter) if first[place] != second[place]), shorter)
