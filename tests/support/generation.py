"""Requests to engines, their results, and when two results are equal."""

from __future__ import annotations

import numpy as np
import torch

from trl_gift.generation import GenerationRequest, SamplingParams

PARAMS = SamplingParams(max_new_tokens=24)


def requests_for(tokenizer, params=PARAMS, count=9, copies=3):
    prompts = ["def solve(xs):\n", "### Code\nreturn total\n### Description\n", "x", "Drop the negative numbers"]
    return [
        GenerationRequest(
            key=i,
            prompt_ids=tuple(tokenizer(prompts[i % len(prompts)] + "#" * (i % 5))["input_ids"]),
            params=params,
            stream_keys=tuple(1000 * i + j for j in range(copies)),
        )
        for i in range(count)
    ]


def run(engine, requests):
    for request in requests:
        engine.submit(request)
    results = {}
    while engine.pending:
        for result in engine.step():
            assert result.key not in results
            results[result.key] = result.completions
    return results


def ids(results):
    return {key: [completion.token_ids for completion in completions] for key, completions in results.items()}


class Memory:
    """A model that runs out of memory in chosen calls, or whenever it sees more than some rows."""

    def __init__(self, model, fail_at=(), most_rows=None):
        self.model, self.fail_at, self.most_rows = model, set(fail_at), most_rows
        self.calls, self.failures, self.widest = 0, 0, 0

    def __enter__(self):
        self.handle = self.model.register_forward_pre_hook(self.before, with_kwargs=True)
        return self

    def __exit__(self, *exception):
        self.handle.remove()

    def before(self, module, args, kwargs):
        self.calls += 1
        rows = len(kwargs["input_ids"])
        if self.calls in self.fail_at or (self.most_rows is not None and rows > self.most_rows):
            self.failures += 1
            raise torch.OutOfMemoryError("no memory left")
        self.widest = max(self.widest, rows)


def drain(engine, results=None):
    while engine.pending:
        for result in engine.step():
            if results is not None:
                results[result.key] = result.completions


def token_ids(results):
    return {key: [c.token_ids for c in completions] for key, completions in results.items()}


def assert_same(results, reference):
    assert token_ids(results) == token_ids(reference)
    for key, completions in reference.items():
        for ours, theirs in zip(results[key], completions, strict=True):
            assert (ours.text, ours.finish_reason) == (theirs.text, theirs.finish_reason)
            np.testing.assert_allclose(ours.logprobs, theirs.logprobs, rtol=1e-4, atol=1e-5)
