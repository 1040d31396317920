"""The two translations as text: description to program ("write") and program to description ("read").

A base model completes text. To write, it sees the pinned signature with the description as its docstring, and
continues with the body. To read, it sees the program under one header, and continues with the description under the
next. A chat model is asked both questions through its tokenizer's chat template. Both formats find the program in a
completion, and both turn a program that was kept into the training target after the task's own description.

A model that thinks first writes `<think>...</think>` before its answer, or only the end of the thought if the template
has opened it. Programs and descriptions are looked for in the answer alone.

Not covered: other marks of thoughts than `<think>`. A tokenizer that treats these marks as special tokens, which decoding
drops, is refused.

A model that has learned to write edits (`trl_gift.lintseq`) has their token in its tokenizer. Its prompts are those of its kind,
and an answer that begins with the token is resolved to its program.

Public modules: `thoughts` (a thought before an answer), `edits` (answers in the form of edits).

Source: GiFT (arXiv 2502.11466), section 3 and appendix; the wordings are ours. Departure: the number of in-context
examples for reading is an option (`num_description_examples`), because a model that was trained to read needs none.
"""

from trl_gift.prompts.base import BasePrompts
from trl_gift.prompts.chat import ChatPrompts, ask_to_write, fenced, find_in_answer, quoted
from trl_gift.prompts.choosing import prompt_format
from trl_gift.prompts.edits import EditPrompts
from trl_gift.prompts.examples import load_examples
from trl_gift.prompts.fingerprint import prompts_fingerprint
from trl_gift.prompts.pinned import Pinned
from trl_gift.prompts.protocol import Conversation, Example, Extraction, Hint, NoProgram, Prompt, PromptFormat
from trl_gift.prompts.templates import prints_date
from trl_gift.prompts.wording import clean_description, read_text, write_text

__all__ = [
    "BasePrompts",
    "ChatPrompts",
    "Conversation",
    "EditPrompts",
    "Example",
    "Extraction",
    "Hint",
    "NoProgram",
    "Pinned",
    "Prompt",
    "PromptFormat",
    "ask_to_write",
    "clean_description",
    "edits",
    "fenced",
    "find_in_answer",
    "load_examples",
    "prints_date",
    "prompt_format",
    "prompts_fingerprint",
    "quoted",
    "read_text",
    "thoughts",
    "write_text",
]
