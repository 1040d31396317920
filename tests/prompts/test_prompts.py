from __future__ import annotations

import copy
import math
from dataclasses import replace
from datetime import date

import pytest

from tests.support.prompts import CHATML, CODE, FENCED, OPENS, TASK
from trl_gift.errors import ConfigError
from trl_gift.prompts import (
    BasePrompts,
    ChatPrompts,
    Example,
    Hint,
    clean_description,
    prints_date,
    prompt_format,
    prompts_fingerprint,
    read_text,
    write_text,
)
from trl_gift.sandbox import Case, StdioTests
from trl_gift.tasks import Task

WHOLE = Task("w", "Echo.", StdioTests(cases=[Case(stdin="1", stdout="1")]))
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def target_ids(prompts, target):
    """Token ids of a target after the prompt of `TASK`."""
    return prompts.encode(prompts.write(TASK, TASK.description), target)[1]


@pytest.fixture
def chat_tokenizer(tokenizer):
    clone = copy.deepcopy(tokenizer)
    clone.chat_template = TEMPLATE
    return clone


def test_write_text_is_a_valid_start():
    assert write_text("def f(x):", "One line.") == 'def f(x):\n    """One line."""\n'
    text = write_text("def f(x):", 'Two\n\nlines with """quotes""" and a \\ and an end "')
    compile(text + "    return x", "prompt", "exec")
    compile(write_text("def f(x):", 'say "hi"') + "    return x", "prompt", "exec")
    compile(write_text(None, "A program.") + "print(1)", "prompt", "exec")


def test_read_text_shows_no_docstring():
    text = read_text('def f(x):\n    """Secret."""\n    return x', [Example("def g():\n    pass", "Does nothing.")])
    assert "Secret" not in text
    assert text.index("Does nothing.") < text.index("def f(x)")
    assert text.endswith("### Description\n")


def test_base_extract_and_target_round_trip(tokenizer):
    prompts = BasePrompts(tokenizer)
    found = prompts.extract(TASK, "    return sum(xs)")
    assert found.code == "def solve(xs):\n    return sum(xs)"
    assert found.verbatim
    assert found.target == prompts.target(TASK, found.code)
    cut = prompts.extract(TASK, "    return sum(xs)\nprint(1)")
    assert cut.target == found.target
    assert not cut.verbatim
    assert prompts.extract(TASK, "\n\n").code is None


def test_base_training_ids_are_the_sampled_ids(tokenizer):
    """A verbatim target has the token ids that a model would have sampled, with the end token."""
    prompts = BasePrompts(tokenizer)
    prompt = prompts.write(TASK, TASK.description)
    before, after = prompts.encode(prompt, "    return sum(xs)")
    assert tuple(before) == prompt.ids
    assert after[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(before + after[:-1]).endswith('"""Sum of xs."""\n    return sum(xs)')


def test_base_whole_programs(tokenizer):
    prompts = BasePrompts(tokenizer)
    found = prompts.extract(WHOLE, "print(input())\nand then some prose")
    assert found.code == "print(input())"
    assert prompts.target(WHOLE, '"""Doc."""\nprint(1)') == "print(1)"


def test_a_class_is_asked_for_as_a_class(tokenizer, chat_tokenizer):
    head = "class Stack:\n    # Methods: push(self, x)"
    body = "    def push(self, x):\n        self.x = x"
    task = replace(TASK, signature=head, reference=f"class Stack:\n{body}")
    base, chat = BasePrompts(tokenizer), ChatPrompts(chat_tokenizer, open_answer=False)
    assert base.target(task, task.reference) == body
    assert base.extract(task, f"{body}\nprint(1)").code == f"{head}\n{body}"
    assert "Complete the following Python class." in chat.write(task, "A stack.").text
    assert chat.write(task, "A stack.").fence == "class Stack"
    assert chat.extract(task, f"Here:\n```python\n{task.reference}\n```").code == task.reference
    opened = ChatPrompts(chat_tokenizer, open_answer=True)
    assert opened.extract(task, f"{body}\n```").code == f"{head}\n{body}"


def test_chat_extract_pins_the_signature(chat_tokenizer):
    prompts = ChatPrompts(chat_tokenizer, open_answer=False)
    found = prompts.extract(TASK, "Sure:\n```python\ndef solve(xs: list):\n    return sum(xs)\n```\nDone.")
    assert found.code == "def solve(xs):\n    return sum(xs)"
    assert not found.verbatim
    exact = "```python\ndef solve(xs):\n    return sum(xs)\n```"
    assert prompts.extract(TASK, exact).verbatim
    assert prompts.target(TASK, found.code) == exact
    assert prompts.extract(TASK, "I would rather not.").code is None


def test_chat_training_ids_continue_the_prompt(chat_tokenizer):
    prompts = ChatPrompts(chat_tokenizer, open_answer=False)
    prompt = prompts.write(TASK, TASK.description)
    target = "```python\ndef solve(xs):\n    return 1\n```"
    before, after = prompts.encode(prompt, target)
    whole = chat_tokenizer.decode(before + after)
    assert whole.endswith(f"<assistant>{target}<|endoftext|>")


NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + CHATML
)
MUTE_SYSTEM = CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
SWITCHED = CHATML.replace(
    "{% endif %}",
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)


@pytest.fixture
def chat(chat_tokenizer_factory):
    return lambda template=CHATML, eos="<|im_end|>": chat_tokenizer_factory(template, eos)


def test_a_target_ends_with_the_end_of_the_turn(chat):
    """What templates put after it is never sampled, so it is neither learned nor scored."""
    tokenizer = chat()
    ids = target_ids(ChatPrompts(tokenizer, open_answer=False), FENCED)
    assert tokenizer.decode(ids) == f"{FENCED}<|im_end|>"
    assert ids[-1] == tokenizer.eos_token_id
    # A template without an end of its own, and one that trims the answer: the tokenizer's end, the text as it was.
    plain = chat(
        "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}assistant:", "<|endoftext|>"
    )
    target = f"{FENCED}\n\n"
    assert plain.decode(target_ids(ChatPrompts(plain, open_answer=False), target)) == f"{target}<|endoftext|>"


def test_targets_are_tokenised_as_trl_does(chat):
    """Prompt and answer are the tokens of the whole conversation, up to the end of the turn."""
    tokenizer = chat()
    prompts = ChatPrompts(tokenizer, "Be brief.", open_answer=False)
    ids = list(prompts.write(TASK, TASK.description).ids) + target_ids(prompts, FENCED)
    text = prompts.write(TASK, TASK.description).text
    question = text.split("<|im_start|>user\n")[1].split("<|im_end|>")[0]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": question},
        {"role": "assistant", "content": FENCED},
    ]
    whole = list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])
    assert whole[: len(ids)] == ids
    assert tokenizer.decode(whole[len(ids) :]) == "\n"


@pytest.mark.parametrize("template", [NO_SYSTEM, MUTE_SYSTEM])
def test_without_a_system_role_the_system_prompt_stands_before_the_question(chat, template):
    tokenizer = chat(template)
    for prompt in (
        ChatPrompts(tokenizer, "Be brief.").write(TASK, "Sum."),
        ChatPrompts(tokenizer, "Be brief.").read(TASK, CODE),
        ChatPrompts(tokenizer, "Be brief.").rewrite(TASK),
    ):
        text = tokenizer.decode(prompt.ids)
        assert "<|im_start|>system" not in text
        assert "<|im_start|>user\nBe brief.\n\n" in text
    assert "<|im_start|>system\nBe brief.<|im_end|>" in (
        tokenizer.decode(ChatPrompts(chat(), "Be brief.").write(TASK, "Sum.").ids)
    )


def test_prompts_begin_with_one_bos(chat):
    """Whether the template writes it or the tokenizer adds it to every text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = chat(NO_SYSTEM)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A <|im_end|>",
        special_tokens=[(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<s>", "<|im_end|>")],
    )
    assert tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id
    for prompts in (ChatPrompts(tokenizer), BasePrompts(tokenizer)):
        for prompt in (prompts.write(TASK, "Sum."), prompts.read(TASK, CODE), prompts.rewrite(TASK)):
            ids = prompt.ids
            assert ids.count(tokenizer.bos_token_id) == 1
            assert ids[0] == tokenizer.bos_token_id
            assert ids[-1] != tokenizer.eos_token_id
        target = target_ids(prompts, prompts.target(TASK, CODE))
        assert tokenizer.bos_token_id not in target
        assert target.count(tokenizer.eos_token_id) == 1


def test_thoughts_are_kept_out_of_the_code(chat):
    prompts = ChatPrompts(chat(), open_answer=False)
    draft = "```python\ndef solve(xs):\n    return 0\n```"
    found = prompts.extract(TASK, f"<think>\nFirst {draft}\n</think>\n\n{FENCED}")
    assert (found.code, found.target, found.verbatim) == (CODE, FENCED, False)
    assert prompts.extract(TASK, f"<think>\nFirst\n{draft}\nand then").code is None
    assert prompts.extract(TASK, f"<think>a</think><think>b</think>{FENCED}").code == CODE
    assert prompts.extract(TASK, FENCED).verbatim


def test_thoughts_are_trained_on_if_they_are_kept(chat):
    tokenizer = chat()
    prompts = ChatPrompts(tokenizer, keep_thoughts=True, open_answer=False)
    completion = f"<think>\nAdd them up.\n</think>\n\n{FENCED}"
    found = prompts.extract(TASK, completion)
    assert (found.code, found.target, found.verbatim) == (CODE, completion, True)
    assert tokenizer.decode(target_ids(prompts, found.target)) == f"{completion}<|im_end|>"
    # Words around the program are left out, so the target is not the sampled text.
    wordy = prompts.extract(TASK, f"{completion}\nThat is all.")
    assert (wordy.target, wordy.verbatim) == (completion, False)
    assert prompts.extract(TASK, FENCED).target == FENCED


@pytest.mark.parametrize("keep", [False, True])
def test_a_thought_that_the_template_opens(chat, keep):
    """A target without a thought closes the opened thought first, as the model would have to."""
    tokenizer = chat(OPENS)
    prompts = ChatPrompts(tokenizer, keep_thoughts=keep)
    prompt = prompts.write(TASK, TASK.description)
    assert prompt.text.endswith("<|im_start|>assistant\n<think>\n")
    completion = f"Add them up.\n</think>\n\n{FENCED}"
    found = prompts.extract(TASK, completion)
    assert found.code == CODE
    assert found.verbatim == keep
    assert found.target == (completion if keep else f"\n</think>\n\n{FENCED}")
    before, after = prompts.encode(prompt, found.target)
    text = tokenizer.decode(before + after)
    thought = "Add them up.\n" if keep else "\n"
    assert text.endswith(f"<think>\n{thought}</think>\n\n{FENCED}<|im_end|>")
    # A reference has no thought; its target can be extracted again.
    reference = prompts.target(TASK, CODE)
    assert reference == f"\n</think>\n\n{FENCED}"
    again = prompts.extract(TASK, reference)
    assert (again.code, again.target, again.verbatim) == (CODE, reference, True)
    assert prompts.extract(TASK, FENCED).code is None


def test_template_arguments_switch_thoughts_off(chat):
    tokenizer = chat(SWITCHED)
    on, off = ChatPrompts(tokenizer), ChatPrompts(tokenizer, template_kwargs={"enable_thinking": False})
    opened = f"assistant\n<think>\n\n</think>\n\n```python\n{TASK.signature}\n"
    assert off.write(TASK, "Sum.").text.endswith(opened)
    assert on.write(TASK, "Sum.").text.endswith("assistant\n")
    assert (on.open_answer, off.open_answer) == (False, True)
    assert on.extract(TASK, FENCED).target == FENCED


def test_descriptions_are_found_after_thoughts(chat):
    prompts = ChatPrompts(chat(), open_answer=False)
    assert prompts.describe("<think>\nIt adds.\n</think>\n\nSum of xs. ") == "Sum of xs."
    assert prompts.describe("<think>\nIt adds") == ""
    assert prompts.describe("Sum of xs.") == "Sum of xs."
    assert ChatPrompts(chat(OPENS)).describe("It adds.</think>Sum.") == "Sum."
    assert BasePrompts(chat()).describe("Sum.\n### Code\n") == "Sum."


def test_log_probabilities_of_a_sample_hold_for_its_verbatim_target(chat, model_factory):
    """A verbatim target is tokenised to exactly the tokens that the model sampled, so both scores agree."""
    import torch

    tokenizer = chat()
    model = model_factory()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    prompts = ChatPrompts(tokenizer, keep_thoughts=True, open_answer=False)
    prompt = prompts.write(TASK, TASK.description)
    asked = list(prompt.ids)
    sampled = tokenizer(f"<think>\nHm.\n</think>\n\n{FENCED}", add_special_tokens=False)["input_ids"]
    sampled = [*sampled, tokenizer.eos_token_id]
    found = prompts.extract(TASK, tokenizer.decode(sampled[:-1]))
    assert found.verbatim
    before, trained = prompts.encode(prompt, found.target)
    assert (before, trained) == (asked, sampled)

    def mean(ids):
        with torch.no_grad():
            logits = model(torch.tensor([asked + ids])).logits[0, len(asked) - 1 : -1].double()
        return float(logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).mean())

    assert math.exp(-mean(trained)) == math.exp(-mean(sampled))


def test_base_models_with_a_chat_template_are_prompted_as_base_models(chat, caplog):
    """Their completions do not end with the token that ends an answer in the template: they would never stop."""
    tokenizer = chat(eos="<|endoftext|>")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert isinstance(prompt_format(tokenizer), BasePrompts)
    assert "Set eos_token='<|im_end|>' to prompt it as a chat model" in caplog.text
    caplog.clear()
    assert isinstance(prompt_format(chat()), ChatPrompts)
    assert isinstance(prompt_format(tokenizer, "base"), BasePrompts)
    assert not caplog.text
    # The model's generation config may know more end tokens than its tokenizer.
    prompts = prompt_format(tokenizer, end_ids={tokenizer.eos_token_id, end})
    assert isinstance(prompts, ChatPrompts)
    assert target_ids(prompts, FENCED)[-1] == end
    with pytest.raises(ConfigError, match=r"ends an answer with '<\|im_end\|>'.* set eos_token='<\|im_end\|>'"):
        prompt_format(tokenizer, "chat")


def test_options_of_chat_models_are_refused_for_base_models(chat, tokenizer):
    for options in (
        {"system_prompt": "Be brief."}, {"keep_thoughts": True}, {"template_kwargs": {"a": 1}}, {"open_answer": True}
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="needs a chat model"):
            prompt_format(tokenizer, **options)
        prompt_format(chat(), **options)


def test_templates_that_cannot_work_are_refused(chat):
    with pytest.raises(ConfigError, match="cannot be rendered"):
        ChatPrompts(chat("{% for m in messages %}"))
    with pytest.raises(ConfigError, match="cannot be rendered"):
        ChatPrompts(chat(), template_kwargs={"tokenize": True})
    special = chat()
    special.add_special_tokens({"extra_special_tokens": ["</think>"]})
    with pytest.raises(ConfigError, match="'</think>' as a special token"):
        ChatPrompts(special)


def test_stop_texts_are_added_to_those_of_the_prompts(chat, tokenizer):
    for prompts in (prompt_format(tokenizer), prompt_format(chat())):
        more = replace(prompts, stop=("STOP",))
        for ask in (
            lambda prompts: prompts.write(TASK, "Sum."),
            lambda prompts: prompts.read(TASK, CODE),
            lambda prompts: prompts.rewrite(TASK),
        ):
            assert ask(more).stop == (*ask(prompts).stop, "STOP")
    assert prompt_format(chat(), stop=("STOP",)).stop == ("STOP",)
    with pytest.raises(ConfigError, match=r"'<\|im_end\|>' is a special token.* name it as eos_token"):
        prompt_format(chat(), stop=("<|im_end|>",))


def test_the_format_is_chosen_by_the_template(tokenizer, chat_tokenizer):
    assert isinstance(prompt_format(tokenizer), BasePrompts)
    assert isinstance(prompt_format(chat_tokenizer), ChatPrompts)
    assert isinstance(prompt_format(chat_tokenizer, "base"), BasePrompts)
    with pytest.raises(ConfigError, match="chat template"):
        prompt_format(tokenizer, "chat")
    with pytest.raises(ConfigError, match="'poem'"):
        prompt_format(tokenizer, "poem")


SOLUTION = 'def solve(xs):\n    """Secret."""\n    return sum(xs)'


def test_a_base_model_sees_the_hint_inside_the_docstring(tokenizer):
    prompts = BasePrompts(tokenizer)
    for hint, shown in [
        (Hint("reference", SOLUTION), "    return sum(xs)"),
        (Hint("failing_test", "assert solve([1]) == 1"), "    assert solve([1]) == 1"),
    ]:
        text = prompts.write(TASK, TASK.description, hint).text
        assert text.startswith('def solve(xs):\n    """Sum of xs.\n')
        assert f"    {shown}\n" in text
        assert "Secret" not in text
        compile(text + "    return 0", "prompt", "exec")


def test_a_chat_model_sees_the_hint_after_the_question(chat_tokenizer):
    prompts = ChatPrompts(chat_tokenizer, open_answer=False)
    plain = chat_tokenizer.decode(prompts.write(TASK, TASK.description).ids)
    text = chat_tokenizer.decode(prompts.write(TASK, TASK.description, Hint("reference", SOLUTION)).ids)
    assert text.startswith(plain[: plain.rindex("<|endoftext|>")])
    assert "```python\ndef solve(xs):\n    return sum(xs)\n```" in text
    assert text.endswith("<assistant>")


def test_clean_description():
    assert clean_description(" Adds.\n### Code\nmore") == "Adds."
    assert clean_description("\n \n") == ""


DOCUMENTED = 'def solve(xs):\n    """Secret."""\n    return sum(xs)'


def test_readers_see_no_docstring_of_any_program(tokenizer, chat_tokenizer):
    """A description that stands in the code would be copied; neither the code nor the example may show one."""
    example = Example('def other(x):\n    """Hidden."""\n    return x', "Gives it back.")
    base = BasePrompts(tokenizer).read(TASK, DOCUMENTED, [example]).text
    chat = ChatPrompts(chat_tokenizer, open_answer=False).read(TASK, DOCUMENTED, [example]).text
    for text in (base, chat):
        assert "return sum(xs)" in text
        assert "Secret" not in text
        assert "Hidden" not in text
    assert base.count("### Code\n") == base.count("### Description\n") == 2
    assert "### Description\nGives it back.\n" in base
    assert base.index("def other(x):\n    return x") < base.index("Gives it back.") < base.index("def solve(xs):")


def test_base_models_end_programs_and_descriptions_at_different_texts(tokenizer):
    prompts = prompt_format(tokenizer)
    written, read = prompts.write(TASK, "Sum.").stop, prompts.read(TASK, CODE).stop
    assert "\ndef " in written
    assert "\n###" in read
    assert not set(written) & set(read)


PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NEEDS_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('a system message, please') }}{% endif %}" + CHATML
)
DATED = "Today is {{ strftime_now('%d %b %Y') }}.\n" + CHATML


def test_the_question_is_in_the_prompt_of_a_template_that_takes_parts(chat):
    """Such templates render text contents as nothing at all."""
    prompts = ChatPrompts(chat(PARTS), system_prompt="Be brief.")
    text = prompts.write(TASK, TASK.description).text
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nComplete the following")
    assert TASK.description in text


def test_a_template_that_leaves_out_the_question_is_refused(chat):
    with pytest.raises(ConfigError, match="leaves out the question"):
        ChatPrompts(chat("{% for m in messages %}{{ m.role }}<|im_end|>{% endfor %}"))


def test_a_template_that_needs_a_system_message(chat):
    tokenizer = chat(NEEDS_SYSTEM)
    with pytest.raises(ConfigError, match="needs a system message; set system_prompt"):
        prompt_format(tokenizer, "chat")
    prompts = prompt_format(tokenizer, "chat", system_prompt="Be brief.")
    assert "system\nBe brief.<|im_end|>" in prompts.write(TASK, TASK.description).text
    assert prompts.end_id == tokenizer.eos_token_id


def test_of_several_templates_the_default_is_taken(chat):
    tokenizer = chat()
    plain = ChatPrompts(tokenizer).write(TASK, TASK.description)
    tokenizer.chat_template = {"tool_use": "tools {{ messages }}", "default": CHATML}
    assert ChatPrompts(tokenizer).write(TASK, TASK.description) == plain
    tokenizer.chat_template = {"rag": CHATML}
    with pytest.raises(ConfigError, match=r"none is called 'default', but \['rag'\]; give one by chat_template_path"):
        prompt_format(tokenizer)


def test_the_date_of_a_template_is_that_of_the_run(chat):
    tokenizer = chat(DATED)
    texts = [
        prompt_format(tokenizer, "chat", date=date(2026, 1, day)).write(TASK, TASK.description).text for day in (5, 6)
    ]
    assert texts[0].startswith("Today is 05 Jan 2026.\n<|im_start|>")
    assert texts[1] == texts[0].replace("05 Jan", "06 Jan")
    assert prints_date(tokenizer)
    assert not prints_date(chat())


def test_the_fingerprint_tells_prompts_apart(chat):
    tokenizer = chat(DATED)
    found = {
        prompts_fingerprint(prompts, [TASK, WHOLE])
        for prompts in (
            BasePrompts(tokenizer),
            BasePrompts(tokenizer, stop=("x",)),
            prompt_format(tokenizer, "chat", date=date(2026, 1, 5)),
            prompt_format(tokenizer, "chat", date=date(2026, 1, 6)),
        )
    }
    assert len(found) == 4
    assert prompts_fingerprint(BasePrompts(tokenizer), [WHOLE, TASK]) in found
