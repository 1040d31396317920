"""Another model that samples in place of the one in training (`sampling_model`): the distillation setting of GiFT's chain.

It is found, loaded and asked as `evaluate` would do it: by its own tokenizer, chat template and engine. It is the same in every
round, and loaded for the time of the sampling alone.

Not covered: the weights of a server that runs already, which nothing here can see; the fingerprint is that of the files that the
name stands for.
"""

from __future__ import annotations

import copy
import functools
import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.generation import choose_engine
from trl_gift.inference.loading import LoadedModel, describe, load
from trl_gift.inference.sources import ModelSource, find_source
from trl_gift.prompts import PromptFormat, prints_date

if TYPE_CHECKING:
    from trl_gift.sampling.rollouts import Rollouts
    from trl_gift.sandbox import Sandbox

# What decides on the numbers that a model computes; the tokenizer and the template are in the fingerprint of the prompts.
_DECISIVE = ("*.safetensors", "*.bin", "config.json", "generation_config.json", "adapter_config.json")
_PIECE = 1 << 24


@dataclass(frozen=True, slots=True)
class SamplingModel:
    """A model that samples for another one to learn from.

    Attributes:
        name: What records call it: its name on the Hub, or the last part of its folder.
        fingerprint: Of its weights and configs, 16 hexadecimal digits; of a name on the Hub, the beginning of its commit.
        prints_date: Whether its chat template prints a date.
    """

    name: str
    fingerprint: str
    prints_date: bool
    _source: ModelSource
    _described: LoadedModel

    @classmethod
    def find(cls, args: GiFTConfig) -> SamplingModel:
        """The model of `sampling_model`, without its weights.

        Raises:
            ConfigError: for what cannot be loaded, or cannot be sampled from by the engine that is named.
        """
        given = str(args.sampling_model)
        try:
            source = find_source(given)
            described = describe(source, _own(args))
            if args.generation_engine != "server":
                choose_engine(args.generation_engine, described.model)
        except ConfigError as error:
            named = f"model_name_or_path={given!r}"
            text = str(error).removeprefix(f"{named}: ").replace(named, "it")
            raise ConfigError(f"sampling_model={given!r}: {text}") from error
        name = Path(given).resolve().name if Path(given).is_dir() else given
        return cls(name, _fingerprint(source, described), prints_date(described.tokenizer), source, described)

    @property
    def identity(self) -> str:
        """What samples say of who drew them."""
        return f"{self.name}@{self.fingerprint}"

    def prompts(self, args: GiFTConfig) -> PromptFormat:
        """How it is asked: by its own tokenizer and chat template."""
        return self._described.prompts(_own(args))

    def positions(self, args: GiFTConfig) -> int | None:
        """The most tokens of a prompt and its completion together; None if that is not known."""
        return _own(args).positions(self._described.model)

    @contextmanager
    def rollouts(self, args: GiFTConfig, folder: Path, sandbox: Sandbox | None) -> Iterator[Rollouts]:
        """Its engine and the sandbox; its memory is free again when the block ends.

        Args:
            args: The options of the run.
            folder: Where a server that this starts writes its log.
            sandbox: Runs the programs; None where none is run.
        """
        own = _own(args)
        loaded = load(self._source, own)
        try:
            yield loaded.rollouts(own, folder, sandbox)
        finally:
            del loaded
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _own(args: GiFTConfig) -> GiFTConfig:
    """The options with which it is loaded and asked: all but what is of the model in training alone."""
    own = copy.copy(args)
    own.model_init_kwargs = None
    own.sampling_model = None
    return own


def _fingerprint(source: ModelSource, described: LoadedModel) -> str:
    facts = described.facts
    commits = [commit for commit in (facts.adapter_revision, facts.revision) if commit]
    folders = [Path(name) for name in (source.adapter, source.model) if name is not None and Path(name).is_dir()]
    if not folders and len(commits) == 1:
        return commits[0][:16]
    files = [
        _File.of(path)
        for folder in folders
        for path in sorted({path for pattern in _DECISIVE for path in folder.glob(pattern)})
    ]
    return _digest(tuple(commits), tuple(files))


class _File(NamedTuple):
    """A file as it is now: written again, it is another one."""

    name: str
    path: Path
    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> _File:
        facts = path.stat()
        return cls(path.name, path.resolve(), facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _digest(commits: tuple[str, ...], files: tuple[_File, ...]) -> str:
    """A hash of the content; weights of many GB are read once by a process."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr([*commits]).encode())
    for item in files:
        digest.update(item.name.encode())
        with item.path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()
