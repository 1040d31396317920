"""Engines without a model: a table that obeys the temperature, and one that writes what a test wants."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tests.support.worlds import TableEngine
from trl_gift.common.randomness import uniforms
from trl_gift.generation import Completion, GenerationResult


class TemperedTableEngine(TableEngine):
    """Draws as a model does: the most likely code at temperature 0, else from the tempered row of the table."""

    def __init__(self, code_given_description):
        super().__init__(code_given_description, np.ones((np.shape(code_given_description)[1], 1)))

    def _answer(self, request):
        kind, row = request.prompt_ids
        probabilities = self._tables[kind][row]
        completions = []
        for key in request.stream_keys:
            if request.params.temperature == 0:
                token = int(np.argmax(probabilities))
            else:
                tempered = probabilities ** (1 / request.params.temperature)
                cumulative = np.cumsum(tempered / tempered.sum())
                token = int(np.searchsorted(cumulative, uniforms(key, 1)[0], side="right"))
                token = min(token, len(probabilities) - 1)
            completions.append(Completion(f"c{token}", (token,), (math.log(probabilities[token]),), "eos"))
            self.tokens_generated += 1
        return GenerationResult(request.key, tuple(completions))


class ScriptedEngine:
    """Writes the text that `write(request, position)` returns; a `Completion` in place of a text is taken as it is.

    Every sampled token has a log-probability of -0.5, every scored token one of -0.25.

    Attributes:
        requests: Every request, in order.
        scored: Every pair that was scored, in order.
    """

    def __init__(self, write):
        self._write = write
        self._waiting = []
        self.requests = []
        self.scored = []
        self.tokens_generated = 0

    @property
    def pending(self):
        return len(self._waiting)

    def submit(self, request):
        self._waiting.append(request)
        self.requests.append(request)

    def step(self):
        waiting, self._waiting = self._waiting, []
        return [self._answer(request) for request in waiting]

    def score(self, pairs):
        self.scored += pairs
        return [(-0.25,) * len(completion) for _, completion in pairs]

    def _answer(self, request):
        completions = []
        for position in range(len(request.stream_keys)):
            written = self._write(request, position)
            if isinstance(written, str):
                written = Completion(written, (0,), (-0.5,), "eos")
            self.tokens_generated += len(written.token_ids)
            completions.append(written)
        return GenerationResult(request.key, tuple(completions))


def ended_by(engine, reason):
    """The engine with every completion ended for this reason."""
    answer = engine._answer

    def changed(request):
        result = answer(request)
        return replace(result, completions=tuple(replace(one, finish_reason=reason) for one in result.completions))

    engine._answer = changed
    return engine
