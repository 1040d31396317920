"""Randomness as a function of names: every draw is seeded by what it is for, never by when it happens.

A key is hashed from the run's seed and the names of the draw (round, task, step, index, purpose); a counter-based
generator (Philox) turns the key into a stream. So a result does not depend on batch order, on the number of workers
or processes, or on a crash in between.
"""

from __future__ import annotations

import hashlib

import numpy as np

Name = int | str


def stream_key(*names: Name) -> int:
    """A 64-bit key for the draw with these names; distinct names give independent keys."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def generator(key: int) -> np.random.Generator:
    """The stream of a key."""
    return np.random.Generator(np.random.Philox(key=key))


def uniforms(key: int, count: int) -> np.ndarray:
    """The first `count` numbers of a stream, uniform on [0, 1), float64, shape `(count,)`."""
    return generator(key).random(count)
