"""All mutants."""

from __future__ import annotations

from tests.mutants import (
    distillation,
    evaluation,
    generation,
    options,
    perplexity,
    proof,
    refining,
    sampling,
    texts,
    training,
)
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *sampling.MUTANTS,
    *perplexity.MUTANTS,
    *training.MUTANTS,
    *texts.MUTANTS,
    *generation.MUTANTS,
    *evaluation.MUTANTS,
    *refining.MUTANTS,
    *distillation.MUTANTS,
    *options.MUTANTS,
    *proof.MUTANTS,
)
