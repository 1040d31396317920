"""Finite worlds with known tables P(c | d) and P(d | c), so that the chain can be held against closed forms."""

from __future__ import annotations

import math
from concurrent.futures import Future

import numpy as np

from trl_gift import codetext
from trl_gift.common.randomness import uniforms
from trl_gift.generation import Completion, GenerationResult, SamplingParams
from trl_gift.prompts import Extraction, NoProgram, Prompt, clean_description
from trl_gift.sampling.budget import token_budget
from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.context import ChainContext, ChainSettings
from trl_gift.sampling.scheduler import Scheduler
from trl_gift.sandbox import AssertTests, Outcome, Status
from trl_gift.tasks import Task

TESTS = AssertTests("assert solve() == 1", entry_point="solve")
WRITE, READ, REWRITE, HINTED = 0, 1, 2, 3


def make_task(name="t", description="d0", reference=None):
    return Task(name, description, TESTS, signature="def solve():", reference=reference)


class TablePrompts:
    """Descriptions are `d0`, `d1`, ...; programs `c0`, `c1`, ...; a prompt is (kind, index)."""

    code_stops = ()
    description_stops = ()
    end_id = None
    convention = "tables"

    def __init__(self):
        self.examples_seen = []

    def write(self, task, description, hint=None):
        return _prompt(HINTED if hint else WRITE, description, self.code_stops)

    def read(self, task, code, examples=()):
        self.examples_seen.append((code, [example.code for example in examples]))
        return _prompt(READ, code, self.description_stops)

    def rewrite(self, task):
        return _prompt(REWRITE, task.description, self.description_stops)

    def describe(self, completion, finished=True):
        return clean_description(completion)

    def extract(self, task, completion):
        if not completion:
            return NoProgram(codetext.NO_CODE, "the completion is empty")
        return Extraction(completion, completion, verbatim=True)

    def target(self, task, code):
        return code

    def encode(self, prompt, target):
        return list(prompt.ids), [int(target[1:])]


def _prompt(kind, name, stop):
    return Prompt((kind, int(name[1:])), text=name, stop=stop)


class TableEngine:
    """Draws one token from a row of a table, by the request's own stream; tables are indexed by the prompt's kind."""

    def __init__(self, code_given_description, description_given_code, order=1, code_given_hint=None):
        self._tables = {
            WRITE: np.asarray(code_given_description),
            READ: np.asarray(description_given_code),
            REWRITE: np.asarray(description_given_code),
            HINTED: np.asarray(code_given_description if code_given_hint is None else code_given_hint),
        }
        self._waiting = []
        self._order = order
        self.requests = []
        self.tokens_generated = 0

    @property
    def pending(self):
        return len(self._waiting)

    def submit(self, request):
        self._waiting.append(request)
        self.requests.append(request)

    def step(self):
        # The last first, a few at a time: the order of the answers must not matter.
        batch, self._waiting = self._waiting[:: self._order][:50], self._waiting[:: self._order][50:]
        return [self._answer(request) for request in batch]

    def score(self, pairs):
        return [(math.log(self._tables[prompt[0]][prompt[1]][completion[0]]),) for prompt, completion in pairs]

    def _answer(self, request):
        kind, row = request.prompt_ids
        probabilities = self._tables[kind][row]
        completions = []
        for key in request.stream_keys:
            token = int(np.searchsorted(np.cumsum(probabilities), uniforms(key, 1)[0], side="right"))
            token = min(token, len(probabilities) - 1)
            text = f"{'c' if kind in (WRITE, HINTED) else 'd'}{token}"
            completions.append(Completion(text, (token,), (math.log(probabilities[token]),), "eos"))
            self.tokens_generated += 1
        return GenerationResult(request.key, tuple(completions))


class TableSandbox:
    """Passes the programs that a function accepts."""

    def __init__(self, accepts=lambda program: True):
        self._accepts = accepts
        self.programs = []

    def submit_all(self, pairs):
        return [self._run(program) for program, _ in pairs]

    def _run(self, program):
        self.programs.append(program)
        future = Future()
        future.set_result(Outcome(Status.PASSED if self._accepts(program) else Status.FAILED))
        return future


def settings(**changes):
    values = {
        "sampler": "gibbs",
        "seed": 0,
        "round": 1,
        "num_steps": 5,
        "num_generations": 3,
        "code_params": SamplingParams(1),
        "description_params": SamplingParams(1),
    }
    return ChainSettings(**values | changes)


def sample(
    tasks,
    engine,
    accepts=lambda program: True,
    recorded=None,
    append=None,
    examples=(),
    prompts=None,
    sandbox=None,
    earlier=None,
    others=(),
    exchange=lambda wave, spent: [spent],
    **changes,
):
    """Runs a sampler over tasks; returns the samples that were recorded.

    `others` are the tasks of other processes, with which `exchange` exchanges what a wave of the budget has cost.
    """
    chosen = settings(**changes)
    budget = token_budget([*tasks, *others], chosen, exchange)
    next_wave = budget.next_wave if budget else lambda: None
    samples = []
    tools = ChainContext(
        chosen, prompts or TablePrompts(), examples, by_step(recorded or []), append or samples.append, earlier or {},
        budget,
    )  # fmt: skip
    sampler = SAMPLERS[chosen.sampler]
    Scheduler(engine, sandbox or TableSandbox(accepts), on_pause=next_wave).run(sampler(task, tools) for task in tasks)
    while budget and not budget.is_over:
        next_wave()
    return samples


def by_step(samples):
    """What a store would give of these samples."""
    return lambda task_id, step: [s for s in samples if (s.task_id, s.step) == (task_id, step)]


def joint_world(num_descriptions, num_codes, stickiness, seed=0):
    """A joint table P(d, c), its two conditionals and its marginal P(c).

    With `stickiness` near 1 each description nearly determines its code and back, and the chain mixes slowly.
    """
    random = np.random.default_rng(seed)
    noise = random.dirichlet(np.ones(num_descriptions * num_codes)).reshape(num_descriptions, num_codes)
    matched = np.zeros_like(noise)
    for description in range(num_descriptions):
        matched[description, description % num_codes] = random.uniform(0.5, 1.5)
    matched /= matched.sum()
    joint = stickiness * matched + (1 - stickiness) * noise
    code_given_description = joint / joint.sum(axis=1, keepdims=True)
    description_given_code = (joint / joint.sum(axis=0, keepdims=True)).T
    return code_given_description, description_given_code, joint.sum(axis=0)
