"""The `server` engine: a client of vLLM or of another server that speaks OpenAI's `/v1/completions`.

Modules: `engine` (the engine), `client` (HTTP), `protocol` (requests and answers as data), `process` and `guard` (a server
that the run starts and ends), `hosting` (both for one stage of a run), `threads` (requests that are under way).

Public names:

- `ServerOptions`: how to reach or to start a server.
- `serving`: the engine for the time of a block; starts a server where none is named.
- `CompletionClient`: the HTTP client of one server.
- `GenerationUnavailable`: the server is gone.

What needs torch is loaded on first use.
"""

from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names
from trl_gift.generation.server.client import CompletionClient, GenerationUnavailable

if TYPE_CHECKING:
    from trl_gift.generation.server.hosting import ServerOptions, serving
else:
    __getattr__ = lazy_names(__name__, {"ServerOptions": "hosting", "serving": "hosting"})

__all__ = ["CompletionClient", "GenerationUnavailable", "ServerOptions", "serving"]
