"""Engines: prompts go in; completions with texts, token ids and log-probabilities come out.

The interface and the data that it exchanges are in `engine`. Three engines implement it: `trl_gift.generation.compact`
(our own decoding loop, the default where it serves), `GenerateEngine` (transformers' `generate`, the reference) and
`trl_gift.generation.server` (a client of vLLM or of another completion server). An engine knows nothing of tasks.

Public names:

- `Engine`, `GenerationRequest`, `SamplingParams`, `Completion`, `GenerationResult`, `FinishReason`: the interface.
- `GenerateEngine`: the reference engine.
- `choose_engine`, `ChosenEngine`: which engine samples where the choice is left to us.
- `end_ids`: the tokens that end a completion of a model.
- `default_dtype`: the type that weights are loaded in where the user names none.
- `parked`: a model that makes room on its device for another one.
- `merged_adapter`, `MERGED_SHARE`: a LoRA adapter in the weights for the time of sampling.
- `positions_of`: how many tokens a model can take.
- `draw_tokens`, `score`: the two steps that all engines over a local model share: logits to tokens, and
  log-probabilities of given completions.

Public modules: `compact`, `server`.

What needs torch is loaded on first use.
"""

from typing import TYPE_CHECKING

from trl_gift.common.lazy import lazy_names
from trl_gift.generation.engine import (
    Completion,
    Engine,
    FinishReason,
    GenerationRequest,
    GenerationResult,
    SamplingParams,
)

if TYPE_CHECKING:
    from trl_gift.generation.choice import ChosenEngine, choose_engine
    from trl_gift.generation.decoding import draw_tokens
    from trl_gift.generation.generate import GenerateEngine
    from trl_gift.generation.merged import MERGED_SHARE, merged_adapter
    from trl_gift.generation.model import default_dtype, end_ids, parked
    from trl_gift.generation.positions import positions_of
    from trl_gift.generation.scoring import score
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "MERGED_SHARE": "merged",
            "ChosenEngine": "choice",
            "GenerateEngine": "generate",
            "choose_engine": "choice",
            "default_dtype": "model",
            "draw_tokens": "decoding",
            "end_ids": "model",
            "merged_adapter": "merged",
            "parked": "model",
            "positions_of": "positions",
            "score": "scoring",
        },
    )

__all__ = [
    "MERGED_SHARE",
    "ChosenEngine",
    "Completion",
    "Engine",
    "FinishReason",
    "GenerateEngine",
    "GenerationRequest",
    "GenerationResult",
    "SamplingParams",
    "choose_engine",
    "compact",
    "default_dtype",
    "draw_tokens",
    "end_ids",
    "merged_adapter",
    "parked",
    "positions_of",
    "score",
    "server",
]
