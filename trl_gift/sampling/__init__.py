"""Sampling: the chain and its siblings, their context, the record of every sample, and the rollouts that run them.

Public modules: `chain` (the samplers), `context` (what a sampler may ask for), `feedback` (what a failed program is told),
`hints`, `showing` (one test as text), `writers` (who writes besides the model in training), `learner` (what it learns of
another model's programs), `lengths` (what fits into a model), `records` (`CodeSample`), `store` (samples on disk), `scheduler`
(many chains on one engine and one sandbox), `executions` (equal programs run once), `rollouts` (an engine, a sandbox and a
process's share of the tasks; needs torch), `drawing` (which model draws the chains; needs torch), `pilot` (which temperature
to sample at), `curation` (which tasks the untrained model solves sometimes), `allocation` (how many steps each task gets),
`budget` (tokens of a round), `stopped` (what a limit has stopped), `workers`, `progress`.
"""

from trl_gift.sampling.chain import SAMPLERS
from trl_gift.sampling.records import CodeSample

__all__ = [
    "SAMPLERS",
    "CodeSample",
    "allocation",
    "budget",
    "chain",
    "context",
    "curation",
    "drawing",
    "executions",
    "feedback",
    "hints",
    "learner",
    "lengths",
    "pilot",
    "progress",
    "records",
    "rollouts",
    "scheduler",
    "showing",
    "stopped",
    "store",
    "workers",
    "writers",
]
