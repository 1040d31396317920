"""All mutants."""

from __future__ import annotations

from tests.mutants import evaluation, generation, options, perplexity, sampling, texts, training
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *sampling.MUTANTS,
    *perplexity.MUTANTS,
    *training.MUTANTS,
    *texts.MUTANTS,
    *generation.MUTANTS,
    *evaluation.MUTANTS,
    *options.MUTANTS,
)
