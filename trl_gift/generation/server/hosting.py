"""Serves the weights of a round with a completion server: exports them, serves them, and frees the device afterwards.

Two ways: a server that the user runs (`url`), which can follow a LoRA run by loading each round's adapter; or one
of our own (`command`), for which the trainer's model leaves its device, so that one GPU serves both phases. Merging an
adapter into a 4-bit model would ruin it, so adapters are always served as adapters. After full fine-tuning the weights
themselves are written and a server of our own is started on them.

Not covered: a server of our own for processes on several machines (give `url`); models spread over several devices.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trl_gift.errors import ConfigError
from trl_gift.generation import end_ids, parked
from trl_gift.generation.positions import positions_of
from trl_gift.generation.server.client import API_KEY_VARIABLE, CompletionClient, GenerationUnavailable
from trl_gift.generation.server.engine import FOREIGN_STOP_TEXTS, Adapter, ServerEngine
from trl_gift.generation.server.kinds import Kind, ServedModel, identify
from trl_gift.generation.server.process import ManagedServer
from trl_gift.generation.server.vllm import (
    COMMAND,
    MOST_STOP_TEXTS,
    OPTIONS,
    VllmSettings,
    lora_config,
    named_positions,
)

_logger = logging.getLogger(__name__)
FIRST_ANSWER_S = 10.0
"""Seconds in which a server that the user runs has to answer for the first time, unless `patience_s` is less."""

_URL_FILE = "server-url"
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Which server, and how much patience it gets.

    Attributes:
        url: A server that the user runs; the run starts a server of its own if not given.
        command: The command that starts one of our own; vLLM's if not given. `{model}`, `{host}`, `{port}`,
            `{rank}` and `{gpu_memory_utilization}` are filled in, and `{vllm_options}` stands for all options that vLLM is
            started with by default.
        model: Name that the server serves the base model by; the first that it lists if not given.
        api_key: Bearer token, for a server that wants one; that of the environment variable `VLLM_API_KEY`, which
            vLLM itself reads, if not given. It is better kept there than in a config that is written down.
        port: Port of one of our own; a free one if not given.
        gpu_memory_utilization: Fraction of the GPU's memory that one of our own uses.
        start_timeout_s: Most seconds until one of our own is ready.
        request_timeout_s: Most seconds for one completion.
        patience_s: So many seconds without any success are borne before a server counts as gone.

    Raises:
        ConfigError: for `url` and `command` together.
    """

    url: str | None = None
    command: str | None = None
    model: str | None = None
    api_key: str | None = None
    port: int | None = None
    gpu_memory_utilization: float = 0.85
    start_timeout_s: float = 900.0
    request_timeout_s: float = 600.0
    patience_s: float = 120.0

    def __post_init__(self) -> None:
        if self.url is not None and self.command is not None:
            raise ConfigError(
                f"vllm_server_base_url={self.url!r} and server_command={self.command!r} exclude each other; give "
                "the first is for a server that runs already, the second for a server that the run should start."
            )

    def check(self, model: PreTrainedModel) -> None:
        """Tells early what could not work after the first round.

        Raises:
            ConfigError: for full fine-tuning with a server that the user runs, adapters other than LoRA, or parts of a LoRA
                that vLLM does not serve.
        """
        if isinstance(model, PeftModel):
            VllmSettings.of(model)
        elif self.url is not None:
            raise ConfigError(
                f"the server at vllm_server_base_url={self.url!r} cannot follow full fine-tuning: its weights stay "
                "what they are. Train LoRA (peft_config), or let the run start its own server (no vllm_server_base_url)."
            )

    def positions(self, model: PreTrainedModel) -> int | None:
        """Most tokens of a prompt and its completion, so that the server can also score the completion.

        Args:
            model: The trainer's model. A server that runs already is asked.

        Returns:
            None where neither the model nor the server says.

        Raises:
            ConfigError: if the server cannot do what is needed, such as loading the model's adapter, or does not answer.
        """
        own = positions_of(model.config)
        if self.url is not None:
            served = self._first_answer(self.url)
            if served.kind is Kind.LLAMA_CPP and isinstance(model, PeftModel):
                raise ConfigError(
                    f"vllm_server_base_url={self.url!r} is llama.cpp's server, which loads no adapters while it runs; use a vLLM "
                    "server, or generation_engine='compact'."
                )
            if served.lacks:
                _logger.warning("%s: %s", self.url, served.lacks)
            theirs = served.positions
        else:
            theirs = named_positions(self.command or COMMAND)
            if theirs is None and OPTIONS in (self.command or COMMAND):
                theirs = VllmSettings.of(model).positions
        return min((value for value in (own, theirs) if value is not None), default=None)

    def _first_answer(self, url: str) -> ServedModel:
        """What a server says that is asked for the first time: nothing has begun that would be worth a long wait."""
        patience_s, timeout_s = min(self.patience_s, FIRST_ANSWER_S), min(self.request_timeout_s, FIRST_ANSWER_S)
        client = replace(self, patience_s=patience_s, request_timeout_s=timeout_s).client(url)
        try:
            return identify(client, self.model)
        except GenerationUnavailable as error:
            raise ConfigError(
                f"vllm_server_base_url={url!r}: {str(error).rstrip('.')}; start the server first, or correct the address."
            ) from error

    def client(self, url: str) -> CompletionClient:
        """A client of a server with these options."""
        return CompletionClient(
            url,
            api_key=self.api_key or os.environ.get(API_KEY_VARIABLE),
            timeout_s=self.request_timeout_s,
            patience_s=self.patience_s,
        )


@contextmanager
def serving(
    options: ServerOptions,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    weights: str,
    folder: Path,
    is_base: bool = False,
    batch_size: int | None = None,
    is_main: bool = True,
    wait_for_everyone: Callable[[], None] = lambda: None,
) -> Iterator[ServerEngine]:
    """An engine that samples from a model as it is now, by a server.

    Args:
        options: Which server.
        model: The trainer's model. With a server of our own it is on the CPU within the block.
        tokenizer: Its tokenizer.
        weights: A hash of the trainable weights; names what is exported.
        folder: Exports, the log and the address of a server of our own go here; all processes see it, and so does
            the server.
        is_base: Whether these are the weights that the server has anyway: nothing is exported.
        batch_size: Most requests under way at once in this process; the engine's default if not given.
        is_main: Whether this process exports and starts the server; one of them does.
        wait_for_everyone: A barrier of all processes.

    Yields:
        The engine. Every process has its own.

    Raises:
        ConfigError: if these weights cannot be served.
        GenerationUnavailable: if the server is gone; see `ServerEngine`.
    """
    if not is_base:
        options.check(model)
    with ExitStack() as stack:
        adapter = served_weights = None
        if isinstance(model, PeftModel):
            base = lora_config(model).base_model_name_or_path
            if not is_base:
                adapter = Adapter(f"gift-{weights}", str((folder / f"adapter-{weights}").resolve()))
        else:
            base = model.config.name_or_path
            if not is_base:
                served_weights = (folder / f"weights-{weights}").resolve()
        if is_main:
            folder.mkdir(parents=True, exist_ok=True)
            if options.url is None:
                (folder / _URL_FILE).unlink(missing_ok=True)
            if adapter is not None:
                _export(model, Path(adapter.path), save_embedding_layers=False)
            if served_weights is not None:
                # As large as the model, and of no use once its server has ended.
                stack.callback(shutil.rmtree, served_weights, ignore_errors=True)
                _export(model, served_weights)
                tokenizer.save_pretrained(served_weights)
        wait_for_everyone()
        server = None
        if options.url is not None:
            url = options.url
        else:
            stack.enter_context(parked(model))
            if is_main:
                server = stack.enter_context(_own_server(options, model, served_weights or base, folder))
                url = server.url
                _write_whole(folder / _URL_FILE, url)
            else:
                url = _url_when_ready(folder / _URL_FILE, options.start_timeout_s)
        engine = ServerEngine(
            options.client(url),
            tokenizer,
            end_ids=end_ids(model, tokenizer),
            batch_size=batch_size,
            model=options.model,
            adapter=adapter,
            server=server,
            most_stops=MOST_STOP_TEXTS if options.url is None else FOREIGN_STOP_TEXTS,
        )
        stack.callback(engine.close)
        yield engine
        # The server may not end before the last process is done with it, and no model comes back to its device before
        # the server has left it. After an error no process waits.
        wait_for_everyone()
        if server is not None:
            server.stop()
        wait_for_everyone()


def _own_server(
    options: ServerOptions, model: PreTrainedModel, served: str | Path | None, folder: Path
) -> ManagedServer:
    if not served:
        raise ConfigError(
            "the model has no name or path that a completion server could load; load it by one (from_pretrained), or "
            "use generation_engine='compact'."
        )
    settings = VllmSettings.of(model)
    return ManagedServer(
        options.command or COMMAND,
        folder / "server.log",
        model=str(served),
        rank=settings.rank or 16,
        options=settings.options(),
        port=options.port,
        gpu_memory_utilization=options.gpu_memory_utilization,
        environment=settings.environment(),
        start_timeout_s=options.start_timeout_s,
    )


def _export(model: PreTrainedModel, folder: Path, **options: Any) -> None:
    """Writes the model or its adapter, whole or not at all."""
    if folder.exists():
        return
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    model.save_pretrained(unfinished, **options)
    unfinished.rename(folder)


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text)
    unfinished.rename(path)


def _url_when_ready(path: Path, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        if time.monotonic() > deadline:
            raise GenerationUnavailable(f"the main process's completion server was not ready after {timeout_s:g} s.")
        time.sleep(_POLL_S)
    return path.read_text()
