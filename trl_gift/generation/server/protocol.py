"""What is said to a completion server and how its answers are read; vLLM's dialect of OpenAI's `/v1/completions`.

Everything that a server could fill in from a model's `generation_config.json` is sent with its neutral value: a
repetition penalty or a top-k that the run did not set would silently change the distribution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl_gift.generation.engine import SamplingParams

# Seeds are signed 64-bit integers in vLLM.
_SEED_MASK = 2**63 - 1
_TOKEN_PREFIX = "token_id:"


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion as a server tells it.

    Attributes:
        text: Without the end token and without the stop text.
        token_ids: None if the server gives none.
        logprobs: Natural logarithms, one for each token; None if the server gives none, or another number of them.
        ended: Whether it ended by itself, and not at its longest length or at the end of the server's context.
        stop_text: The stop text that ended it; None also where a server does not say.
    """

    text: str
    token_ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    ended: bool
    stop_text: str | None

    @classmethod
    def from_choice(cls, choice: Mapping[str, Any]) -> Answer:
        """Reads a choice of the server's answer."""
        given = choice.get("logprobs") or {}
        values = given.get("token_logprobs")
        ids = choice.get("token_ids")
        if "content" in given:  # llama.cpp's form
            ids = [token["id"] for token in given["content"]]
            values = [token["logprob"] for token in given["content"]]
        if ids is None:
            ids = _ids_from_names(given.get("tokens"))
        token_ids = None if ids is None else tuple(int(token) for token in ids)
        logprobs = None
        if values is not None and None not in values and token_ids is not None and len(values) == len(token_ids):
            logprobs = tuple(float(value) for value in values)
        reason = choice.get("stop_reason")
        return cls(
            text=str(choice["text"]),
            token_ids=token_ids,
            logprobs=logprobs,
            ended=choice["finish_reason"] == "stop",
            stop_text=reason if isinstance(reason, str) else None,
        )


def generation_body(
    model: str,
    prompt_ids: Sequence[int],
    params: SamplingParams,
    stream_key: int,
    end_ids: frozenset[int],
    most_stops: int | None = None,
) -> dict[str, Any]:
    """The request for one completion, seeded by its stream key.

    Args:
        model: Its name.
        prompt_ids: The prompt.
        params: How tokens are drawn.
        stream_key: The key of the completion's stream.
        end_ids: Tokens that end the completion.
        most_stops: Most stop texts that the server takes; the client cuts at the others.
    """
    # llama.cpp's names; it looks at the last 64 tokens otherwise.
    penalty = {"repeat_penalty": params.repetition_penalty, "repeat_last_n": len(prompt_ids) + params.max_new_tokens}
    return {
        "model": model,
        "prompt": list(prompt_ids),
        "n": 1,
        "max_tokens": params.max_new_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        # -1 disables in every server that knows the field; 0 does not.
        "top_k": params.top_k or -1,
        "min_p": params.min_p,
        "repetition_penalty": params.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": list(params.stop[:most_stops]),
        "stop_token_ids": sorted(end_ids),
        "seed": stream_key & _SEED_MASK,
        # The sampled token's own is always among them; with 0 some servers give none at all.
        "logprobs": 1,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "add_special_tokens": False,
        **(penalty if params.repetition_penalty != 1.0 else {}),
    }


def probe_body(model: str, prompt_ids: Sequence[int], temperature: float) -> dict[str, Any]:
    """One token at a temperature, with the log-probability of the likeliest."""
    params = SamplingParams(1, temperature)
    return generation_body(model, prompt_ids, params, 0, frozenset())


def likeliest(choice: Mapping[str, Any]) -> float | None:
    """The largest log-probability at the first position, or None if the server names none."""
    given = choice.get("logprobs") or {}
    if content := given.get("content"):  # llama.cpp's form
        return max((float(token["logprob"]) for token in content[0].get("top_logprobs") or ()), default=None)
    top = given.get("top_logprobs")
    return max(top[0].values()) if top and top[0] else None


def scoring_body(model: str, prompt_ids: Sequence[int], token_ids: Sequence[int], echo: bool) -> dict[str, Any]:
    """The request for the log-probabilities of given tokens after a prompt.

    Args:
        model: Its name.
        prompt_ids: The prompt.
        token_ids: What is scored.
        echo: By OpenAI's `echo`; else by vLLM's `prompt_logprobs`.
    """
    way: dict[str, Any] = {"echo": True, "logprobs": 1} if echo else {"prompt_logprobs": 1}
    return {
        "model": model,
        "prompt": [*prompt_ids, *token_ids],
        # None would do, but not every server allows it.
        "max_tokens": 1,
        "temperature": 0.0,
        "add_special_tokens": False,
        "return_token_ids": True,
        **way,
    }


def scores(
    choice: Mapping[str, Any], prompt_ids: Sequence[int], token_ids: Sequence[int], echo: bool
) -> tuple[float, ...] | None:
    """Reads the answer to `scoring_body`; None if the server did not do what was asked."""
    start, end = len(prompt_ids), len(prompt_ids) + len(token_ids)
    if echo:
        values = (choice.get("logprobs") or {}).get("token_logprobs") or []
        found = values[start:end]
        if len(values) < end or None in found:
            return None
        return tuple(float(value) for value in found)
    positions = choice.get("prompt_logprobs")
    if not positions or len(positions) != end:
        return None
    return tuple(
        float(position[str(token)]["logprob"]) for position, token in zip(positions[start:], token_ids, strict=True)
    )


def _ids_from_names(names: Sequence[str] | None) -> list[int] | None:
    """Token ids from names such as `token_id:42`, vLLM's form before it gave ids of their own."""
    if not names or not all(name.startswith(_TOKEN_PREFIX) for name in names):
        return None
    return [int(name.removeprefix(_TOKEN_PREFIX)) for name in names]
