"""HTTP client of an OpenAI-compatible completion server: it retries temporary failures and explains the others.

The client uses the standard library and no proxy: the environment's proxy settings must not get between a trainer and a server
on the same machine. It opens one connection for each request, so that a stale connection cannot look like a dead server.

The client distinguishes three kinds of failures:

- temporary failures (no connection, 429, 5xx, an aborted completion) are retried with growing pauses;
- a server that is gone, or fails for longer than `patience_s`, raises `GenerationUnavailable`;
- a failure that the user can fix (a refused request, an unknown model, a wrong key) raises `ConfigError` with the server's
  message.

An empty completion is an answer and not a failure.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from trl_gift.errors import ConfigError, StageUnavailable

# vLLM's own: a server that the run starts finds the key where its client does.
API_KEY_VARIABLE = "VLLM_API_KEY"
_logger = logging.getLogger(__name__)
_CONNECT_TIMEOUT_S = 10.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 30.0
# A server that stumbles for less is not worth a line.
_SILENCE_S = 2.0
_TRANSIENT = frozenset({408, 425, 429})
_MOST_WORDS = 500
# Pauses differ between waiting threads. The generator is separate, so that it does not move any other random stream.
_jitter = random.SystemRandom()


class GenerationUnavailable(StageUnavailable):
    """The completion server is gone. The samples so far are kept; a resumed run sends unfinished requests again."""


class UnknownModel(ConfigError):
    """The server does not serve the model or adapter that it was asked for."""


class _Reply(NamedTuple):
    status: int
    body: bytes
    retry_after: str | None

    @property
    def words(self) -> str:
        """What the server says, in the form that OpenAI's and vLLM's errors have or as it is."""
        text = self.body.decode(errors="replace")
        try:
            content = json.loads(text)
        except ValueError:
            return text.strip()[:_MOST_WORDS]
        if isinstance(content, dict):
            error = content.get("error", content)
            if isinstance(error, dict) and "message" in error:
                return str(error["message"])[:_MOST_WORDS]
        return text.strip()[:_MOST_WORDS]


class CompletionClient:
    """Talks to one server; safe to use from many threads.

    Args:
        url: The server, such as `http://127.0.0.1:8000`; a trailing `/v1` is allowed.
        api_key: Sent as a bearer token if given.
        timeout_s: Longest time in seconds until the answer to one request begins. A server answers a completion as a whole.
        patience_s: Seconds without any success after which the server counts as gone.

    Raises:
        ConfigError: for a URL that is not http or https.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = 600.0, patience_s: float = 120.0
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"vllm_server_base_url={url!r} is not the address of a server; give one like 'http://127.0.0.1:8000'."
            )
        self.url = url.rstrip("/").removesuffix("/v1").rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = urlsplit(self.url).path
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._last_success = 0.0
        self._has_told = False

    def complete(self, body: Mapping[str, Any], is_alive: Callable[[], bool] = lambda: True) -> Mapping[str, Any]:
        """One completion: the only choice of the server's answer.

        Args:
            body: The request, in the form of `/v1/completions`.
            is_alive: Called before each retry; False gives up at once.

        Raises:
            GenerationUnavailable: if the server is gone.
            UnknownModel: if it does not know the model.
            ConfigError: if it refuses the request.
        """
        reply = self._patiently("POST", "/v1/completions", body, is_alive, _trouble_in_completion)
        if reply.status == 404:
            raise UnknownModel(f"{self.url} does not serve {body.get('model')!r}: {reply.words}")
        self._refuse(reply, "/v1/completions")
        choice = json.loads(reply.body)["choices"][0]
        assert isinstance(choice, dict)
        return choice

    def cards(self) -> list[Mapping[str, Any]]:
        """What the server says about its models and adapters, its base model first; each has an `id`.

        Raises:
            GenerationUnavailable: if the server is gone.
            ConfigError: if it does not list its models.
        """
        reply = self._patiently("GET", "/v1/models", None)
        self._refuse(reply, "/v1/models")
        cards = json.loads(reply.body)["data"]
        assert isinstance(cards, list)
        return cards

    def models(self) -> list[str]:
        """Names of the models and adapters that the server has, its base model first; raises as `cards` does."""
        return [str(card["id"]) for card in self.cards()]

    def routes(self) -> frozenset[str]:
        """The paths that the server documents; empty if it documents none.

        Raises:
            GenerationUnavailable: if the server is gone.
        """
        reply = self._patiently("GET", "/openapi.json", None)
        if reply.status != 200:
            return frozenset()
        try:
            paths = json.loads(reply.body)["paths"]
        except (ValueError, LookupError, TypeError):
            return frozenset()
        return frozenset(map(str, paths))

    def load_adapter(self, name: str, path: str) -> None:
        """Makes the server load a LoRA adapter, unless the server has it.

        Args:
            name: What requests call it; another adapter must have another name.
            path: Its folder, as the server sees it.

        Raises:
            GenerationUnavailable: if the server is gone.
            ConfigError: if the server cannot or does not load it.
        """
        if name in self.models():
            return
        body = {"lora_name": name, "lora_path": path}
        # A 500 here is vLLM's answer to an adapter that does not fit; it would be the same the next time.
        reply = self._patiently("POST", "/v1/load_lora_adapter", body, trouble=_busy)
        if reply.status == 200 or name in self.models():  # another process may have been faster
            return
        raise ConfigError(
            f"{self.url} did not load the adapter {path} (HTTP {reply.status}: {reply.words}). A vLLM server needs "
            "--enable-lora, --max-lora-rank of at least the adapter's rank, VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in "
            "its environment, and that folder under the same path; other servers may not load adapters at all."
        )

    def is_healthy(self) -> bool:
        """Whether the server says, at the first attempt, that it can work."""
        try:
            status = self._exchange("GET", "/health", None).status
            if status == 404:
                status = self._exchange("GET", "/v1/models", None).status
        except (OSError, http.client.HTTPException):
            return False
        return status == 200

    def close(self) -> None:
        """Breaks off all requests; their threads get a `GenerationUnavailable`."""
        self._closing.set()
        with self._lock:
            sockets = [connection.sock for connection in self._open]
        for item in sockets:
            if item is not None:
                try:
                    item.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the request has ended in the meantime

    def _patiently(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        is_alive: Callable[[], bool] = lambda: True,
        trouble: Callable[[_Reply], str | None] | None = None,
    ) -> _Reply:
        """The first answer that is not a temporary failure."""
        started = time.monotonic()
        pause = _FIRST_PAUSE_S
        while True:
            retry_after = None
            try:
                reply = self._exchange(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                problem: str | None = f"{type(error).__name__}: {error}"
            else:
                problem = (trouble or _server_trouble)(reply)
                retry_after = reply.retry_after
            if problem is None:
                self._last_success, self._has_told = time.monotonic(), False
                return reply
            wait = pause * _jitter.uniform(0.5, 1.0)
            if retry_after is not None and retry_after.isdigit():
                wait = max(wait, float(retry_after))
            in_trouble = time.monotonic() - max(started, self._last_success)
            if self._closing.is_set() or not is_alive() or in_trouble + wait > self._patience_s:
                raise GenerationUnavailable(f"{self.url}{path} does not answer ({problem}).")
            if in_trouble >= _SILENCE_S:
                self._tell(problem, self._patience_s - in_trouble)
            self._closing.wait(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _tell(self, problem: str, left_s: float) -> None:
        """Says what is waited for and how long at most; once, however many threads wait."""
        with self._lock:
            has_told, self._has_told = self._has_told, True
        if not has_told:
            _logger.warning("%s does not answer (%s); trying again for at most %.0f s.", self.url, problem, left_s)

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> _Reply:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=min(_CONNECT_TIMEOUT_S, self._timeout_s))
        with self._lock:
            if self._closing.is_set():
                raise ConnectionAbortedError("the client was closed")
            self._open.add(connection)
        try:
            connection.connect()
            connection.sock.settimeout(self._timeout_s)
            payload = None if body is None else json.dumps(body).encode()
            connection.request(method, self._prefix + path, payload, self._headers)
            response = connection.getresponse()
            return _Reply(response.status, response.read(), response.getheader("Retry-After"))
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _refuse(self, reply: _Reply, path: str) -> None:
        if reply.status in (401, 403):
            raise ConfigError(
                f"{self.url}{path} wants a key (HTTP {reply.status}); set the environment variable {API_KEY_VARIABLE}."
            )
        if reply.status != 200:
            raise ConfigError(f"{self.url}{path} refused a request (HTTP {reply.status}): {reply.words}")


def _busy(reply: _Reply) -> str | None:
    """A temporary failure, which the request itself cannot have caused."""
    if reply.status in _TRANSIENT or reply.status in (502, 503, 504):
        return f"HTTP {reply.status}: {reply.words}"
    return None


def _server_trouble(reply: _Reply) -> str | None:
    if reply.status in _TRANSIENT or reply.status >= 500:
        return f"HTTP {reply.status}: {reply.words}"
    return None


def _trouble_in_completion(reply: _Reply) -> str | None:
    """Also an answer that is not a finished completion: a proxy's page, or a completion that the server broke off."""
    if reply.status != 200:
        return _server_trouble(reply)
    try:
        choice = json.loads(reply.body)["choices"][0]
        reason, text = choice["finish_reason"], choice["text"]
    except (ValueError, LookupError, TypeError):
        return f"no completion: {reply.words}"
    if reason not in ("stop", "length") or not isinstance(text, str):
        return f"a completion with finish_reason={reason!r}"
    return None
