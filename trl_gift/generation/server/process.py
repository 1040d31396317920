"""The life of a completion server that belongs to a run: started, waited for, started again once, ended with its tree.

The command runs under a guard (`trl_gift.generation.server.guard`), which ends it when the trainer ends, however that
comes about.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from trl_gift.errors import ConfigError
from trl_gift.generation.server import faults, guard
from trl_gift.generation.server.client import CompletionClient, GenerationUnavailable
from trl_gift.generation.server.vllm import OPTIONS, known_rank

_MOST_STARTS = 2
_POLL_S = 0.1
_READ_OF_LOG = 2**18
_MOST_OF_LINE = 500


class ManagedServer:
    """A server process with all its descendants, as a context manager.

    Args:
        command: A command line or its words. `{model}`, `{host}`, `{port}`, `{rank}` and `{gpu_memory_utilization}` are
            filled in.
        log_path: Its output is appended here.
        model: Name or path of the model.
        rank: Largest rank of the adapters to come; rounded up to one that vLLM knows.
        options: The words that `{vllm_options}` stands for, where it is a word of the command.
        host: Address that it listens on.
        port: Port that it listens on; a free one if not given.
        gpu_memory_utilization: Fraction of the GPU's memory that vLLM uses.
        environment: Added to the environment.
        start_timeout_s: Most seconds until it is healthy.
        grace_s: Seconds between asking its processes to end and killing them.

    Raises:
        ConfigError: on entering, if the command does not exist or the port is taken.
        GenerationUnavailable: on entering, if it ends or is not healthy in time; with the line of its log that says why.

    Examples:
        ```python
        settings = VllmSettings.of(model)
        with ManagedServer(
            vllm.COMMAND, Path("server.log"), model="Qwen/Qwen2.5-Coder-1.5B", options=settings.options()
        ) as server:
            engine = ServerEngine(CompletionClient(server.url), tokenizer, server=server)
        ```
    """

    def __init__(
        self,
        command: str | Sequence[str],
        log_path: Path,
        *,
        model: str = "",
        rank: int = 16,
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int | None = None,
        gpu_memory_utilization: float = 0.85,
        environment: Mapping[str, str] | None = None,
        start_timeout_s: float = 900.0,
        grace_s: float = 10.0,
    ) -> None:
        self._port = free_port(host) if port is None else port
        self._host = host
        values = {
            "{model}": model,
            "{host}": host,
            "{port}": str(self._port),
            "{gpu_memory_utilization}": str(gpu_memory_utilization),
            "{rank}": str(known_rank(rank)),
        }
        given = shlex.split(command) if isinstance(command, str) else list(command)
        words = [part for word in given for part in (options if word == OPTIONS else [word])]
        self._command = [_fill(word, values) for word in words]
        if not self._command:
            raise ConfigError("server_command is empty; give the command that starts a completion server.")
        self._log_path = log_path
        self._log_start = 0
        self._environment = {**os.environ, **(environment or {})}
        self._start_timeout_s = start_timeout_s
        self._grace_s = grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self._host}:{self._port}"

    def __enter__(self) -> ManagedServer:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self, reason: str) -> None:
        """Ends what is left of it and starts it again.

        Args:
            reason: What was wrong, for the error message.

        Raises:
            GenerationUnavailable: if it was already started again once, or does not get healthy.
        """
        code = self._process.poll() if self._process is not None else None
        self.stop()
        if self._starts >= _MOST_STARTS:
            ended = "" if code is None else f" and ended with exit code {code}"
            raise GenerationUnavailable(
                f"the completion server failed for the second time: {reason.rstrip('.')}{ended}. {self._cause()} What was "
                "sampled is kept; resume the run when it is fixed."
            )
        self._start()

    def stop(self) -> None:
        """Ends the whole tree; returns when nothing of it is left. A second call does nothing."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=self._grace_s + 30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> None:
        if _is_taken(self._host, self._port):
            raise ConfigError(f"port {self._port} is in use; choose another server_port, or end what listens there.")
        self._starts += 1
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            self._log_start = log.tell()
            log.write(f"$ {shlex.join(self._command)}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, str(self._grace_s), *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._environment,
                # Not the terminal's: an interrupted trainer still has to end it in order.
                start_new_session=True,
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        client = CompletionClient(self.url, timeout_s=10.0)
        deadline = time.monotonic() + self._start_timeout_s
        while not client.is_healthy():
            code = self._process.poll()
            if code == guard.NOT_FOUND:
                raise ConfigError(
                    f"server_command starts {self._command[0]!r}, which does not run here: {self._cause()} Install it "
                    "(for the default, `pip install vllm`), or give the command of another server."
                )
            if code is not None:
                raise GenerationUnavailable(
                    f"the completion server ended with exit code {code} before it was ready. {self._cause()}"
                )
            if time.monotonic() > deadline:
                raise GenerationUnavailable(
                    f"the completion server was not ready after {self._start_timeout_s:g} s (vllm_server_timeout). "
                    f"{self._cause()}"
                )
            time.sleep(_POLL_S)

    def _cause(self) -> str:
        """What the log of this start tells about the failure."""
        with self._log_path.open("rb") as log:
            log.seek(max(self._log_start, self._log_path.stat().st_size - _READ_OF_LOG))
            text = log.read().decode(errors="replace")
        found = faults.cause(text.partition("\n")[2])[:_MOST_OF_LINE]  # the first line is the command
        return f"Its log {'says: ' + found if found else 'names no error'} (all of it: {self._log_path})."


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def _fill(word: str, values: Mapping[str, str]) -> str:
    # Not `str.format`: a command may hold JSON with braces of its own.
    for name, value in values.items():
        word = word.replace(name, value)
    return word
