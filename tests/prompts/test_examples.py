"""The programs with summaries that a reader is shown."""

from __future__ import annotations

import json

import pytest

from tests.support.prompts import CHATML, TASK
from trl_gift import codetext
from trl_gift.errors import ConfigError
from trl_gift.prompts import BasePrompts, ChatPrompts, Example, clean_description, load_examples
from trl_gift.sampling.leaks import gives_away

PAIR = Example("def other(x):\n    return x", "Gives x back.")


def test_the_examples_of_the_package_are_programs_with_words():
    examples = load_examples()
    assert len(examples) == 12
    assert len({codetext.normalise(example.code) for example in examples}) == 12
    for example in examples:
        assert codetext.parse(example.code) is not None
        assert not gives_away(example.description, [example.code])
        assert clean_description(example.description) == example.description
        assert ">>>" not in example.description


def test_a_user_may_bring_examples(tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text(
        "\n".join(json.dumps({"code": PAIR.code, "description": PAIR.description}) for _ in range(2)) + "\n"
    )
    assert load_examples(path) == (PAIR, PAIR)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_examples(path) == (PAIR, PAIR)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "line 1 is not JSON"), ('[1]', "must hold the texts"), ('{"code": "x"}', "'code' and 'description'"),
     ('{"code": " ", "description": "x"}', "'code' and 'description'")],
)  # fmt: skip
def test_a_file_of_something_else_is_refused(tmp_path, content, said):
    path = tmp_path / "examples.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        load_examples(path)
    with pytest.raises(ConfigError, match=r"description_examples='nowhere\.jsonl' cannot be read"):
        load_examples("nowhere.jsonl")


def test_examples_come_before_the_program_in_both_formats(tokenizer, chat_tokenizer_factory):
    chat = ChatPrompts(chat_tokenizer_factory(CHATML, "<|im_end|>"), "Be brief.")
    code = "def solve(xs):\n    return 1"
    for prompts in (BasePrompts(tokenizer), chat):
        text = prompts.read(TASK, code, [PAIR]).text
        assert text.index(PAIR.code) < text.index(PAIR.description) < text.index(code)
    # An example is a turn of the conversation.
    assert f"<|im_start|>assistant\n{PAIR.description}<|im_end|>" in text
    assert text.count("<|im_start|>system\nBe brief.") == 1
    assert text.endswith("<|im_start|>assistant\n")
