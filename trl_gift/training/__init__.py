"""From samples to weights.

Public modules: `selection` (K samples for each task), `targets` (what is learned gives what passed), `pairs` (training pairs as token ids), `edits` (the token of edits, targets in the form of edits), `rounds` (consecutive `train()`
calls as one run; needs torch), `quantization`, `adapters` (what a saved adapter says of itself and changes), `modalities` (multimodal checkpoints used for text), `merging` (an
adapter into its base), `checks` (a model before it is loaded), `sft_fields` (what every option of `SFTConfig` does here).
"""

__all__ = [
    "adapters",
    "checks",
    "edits",
    "merging",
    "modalities",
    "pairs",
    "quantization",
    "rounds",
    "selection",
    "sft_fields",
    "targets",
]
