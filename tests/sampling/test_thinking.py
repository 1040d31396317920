"""What a model thinks before its code: the record, the training text, and whose log-probabilities count."""

from __future__ import annotations

import pytest

from tests.support.prompts import CHATML, CODE, FENCED, OPENS, TASK
from tests.support.worlds import sample
from trl_gift.generation import Completion, GenerationResult
from trl_gift.prompts import ChatPrompts
from trl_gift.training.pairs import make_pair

THOUGHT = "<think>\nAdd them up.\n</think>\n\n"


class ScriptedEngine:
    """Writes one text, whatever it is asked; every sampled token has -0.5, every scored one -0.25."""

    def __init__(self, tokenizer, text, end=None):
        end = tokenizer.eos_token_id if end is None else end
        self.ids = (*tokenizer(text, add_special_tokens=False)["input_ids"], end)
        self.text = text
        self.scored = []
        self.tokens_generated = 0
        self._waiting = []

    def submit(self, request):
        self._waiting.append(request)

    def step(self):
        waiting, self._waiting = self._waiting, []
        completion = Completion(self.text, self.ids, (-0.5,) * len(self.ids), "eos")
        return [GenerationResult(request.key, (completion,) * len(request.stream_keys)) for request in waiting]

    def score(self, pairs):
        self.scored += pairs
        return [(-0.25,) * len(completion) for _, completion in pairs]


def sampled(tokenizer, text, keep, end=None):
    engine, prompts = (
        ScriptedEngine(tokenizer, text, end),
        ChatPrompts(tokenizer, keep_thoughts=keep, open_answer=False),
    )
    (one,) = sample([TASK], engine, prompts=prompts, sampler="conditional", num_steps=1, num_generations=1)
    return one, engine, prompts


@pytest.mark.parametrize(("template", "opening"), [(CHATML, ""), (OPENS, "<think>\n")])
def test_a_thought_that_is_trained_on_counts_as_it_was_sampled(chat_tokenizer_factory, template, opening):
    tokenizer = chat_tokenizer_factory(template, "<|im_end|>")
    text = f"{THOUGHT}{FENCED}".removeprefix(opening)
    one, engine, prompts = sampled(tokenizer, text, keep=True)
    assert (one.code, one.completion, one.target) == (CODE, text, text)
    assert engine.scored == []
    assert not one.scored
    assert one.num_scored == len(engine.ids)
    assert one.logprob_sum == pytest.approx(-0.5 * len(engine.ids))
    # What is learned are the very tokens whose log-probabilities were taken.
    pair = make_pair(TASK, one.target, prompts)
    assert tuple(pair.input_ids[-len(engine.ids) :]) == engine.ids
    assert tuple(pair.labels[-len(engine.ids) :]) == engine.ids
    assert set(pair.labels[: -len(engine.ids)]) == {-100}


@pytest.mark.parametrize(("template", "opening", "kept"), [(CHATML, "", ""), (OPENS, "<think>\n", "\n</think>\n\n")])
def test_a_thought_that_is_not_trained_on_is_not_counted(chat_tokenizer_factory, template, opening, kept):
    """The perplexity is that of the text which is learned, and so has to be asked for."""
    tokenizer = chat_tokenizer_factory(template, "<|im_end|>")
    text = f"{THOUGHT}{FENCED}".removeprefix(opening)
    one, engine, prompts = sampled(tokenizer, text, keep=False)
    assert (one.code, one.completion, one.target) == (CODE, text, f"{kept}{FENCED}")
    ((prompt, completion),) = engine.scored
    assert tuple(prompt) == prompts.write(TASK, TASK.description).ids
    assert tokenizer.decode(completion) == f"{kept}{FENCED}<|im_end|>"
    assert one.scored
    assert one.logprob_sum == pytest.approx(-0.25 * len(completion))
    pair = make_pair(TASK, one.target, prompts)
    assert pair.input_ids == [*prompt, *completion]


def test_another_end_token_is_not_the_one_that_is_learned(chat_tokenizer_factory):
    tokenizer = chat_tokenizer_factory(CHATML, "<|im_end|>")
    one, engine, _ = sampled(tokenizer, FENCED, keep=False)
    assert not one.scored
    other, engine, _ = sampled(tokenizer, FENCED, keep=False, end=tokenizer.convert_tokens_to_ids("<|endoftext|>"))
    assert other.scored
    assert other.logprob_sum == pytest.approx(-0.25 * len(engine.scored[0][1]))


def test_a_thought_that_was_cut_off_is_no_code(chat_tokenizer_factory):
    tokenizer = chat_tokenizer_factory(CHATML, "<|im_end|>")
    one, engine, _ = sampled(tokenizer, f"<think>\nPerhaps\n{FENCED}\nor", keep=False)
    assert (one.code, one.target, one.status, one.perplexity) == (None, None, "no_code", None)
    assert engine.scored == []
