"""The repositories of a run on the Hub: the model's and, with `push_samples`, that of the samples dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from trl_gift.config import GiFTConfig
from trl_gift.errors import ConfigError
from trl_gift.hub.failures import HUB_ERRORS, reason


class Repositories:
    """Names of a run's repositories.

    They exist before the trainer's model does, because transformers creates them while it builds a trainer.

    Args:
        args: The run's options.

    Attributes:
        model: Full name of the model's repository; None before `create`, and on all processes but the main one.
        samples: Full name of the samples dataset's repository; None without `push_samples`.
    """

    def __init__(self, args: GiFTConfig) -> None:
        self._args = args
        self.model: str | None = None
        self.samples: str | None = None

    @property
    def model_name(self) -> str:
        """The model's name without its owner: the last part of `hub_model_id`, or that of the output folder."""
        return Path(self._args.hub_model_id or Path(self._args.output_dir).absolute()).name

    def create(self, token: str | None, private: bool | None) -> str:
        """Creates the repositories that do not exist.

        Args:
            token: The token for the Hub; `hub_token` if not given.
            private: Whether new repositories are private; `hub_private_repo` if not given.

        Returns:
            Full name of the model's repository.

        Raises:
            ConfigError: if the Hub refuses, or cannot be reached.
        """
        args, hub = self._args, HfApi(token=token or self._args.hub_token)
        private = args.hub_private_repo if private is None else private
        self.model = _create(hub, args.hub_model_id or self.model_name, private=private)
        if args.push_samples:
            if args.samples_private is not None:
                private = args.samples_private
            elif private is None:
                private = _is_private(hub, self.model)
            name = args.samples_repo_id or f"{self.model}-samples"
            self.samples = _create(hub, name, repo_type="dataset", private=private)
        return self.model


def _create(hub: HfApi, name: str, **options: Any) -> str:
    try:
        return str(hub.create_repo(name, exist_ok=True, **options).repo_id)
    except HUB_ERRORS as error:
        raise ConfigError(
            f"cannot create the repository {name!r} on the Hub: {reason(error)} Log in with `hf auth login` or give "
            "hub_token, choose another name (hub_model_id, samples_repo_id), or leave out push_to_hub."
        ) from error


def _is_private(hub: HfApi, name: str) -> bool | None:
    try:
        return hub.model_info(name).private
    except HUB_ERRORS as error:
        raise ConfigError(
            f"cannot read whether {name!r} on the Hub is private: {reason(error)} Check the connection, or set "
            "samples_private."
        ) from error
