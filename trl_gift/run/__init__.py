"""A run on disk and in trackers.

Public modules: `compared` (runs of several configs, compared), `ending` (how a run went, in words), `example` (its task that is shown as an example), `folder` (where artefacts lie, when a run may start or continue),
`methods` (what a run is, in words), `next_step` (what a run does next), `resuming` (what a run continues
from), `prompts` (the prompts that a run trains with, recorded), `samples` (the samples of the rounds, read once), `sets` (records of several sets of evaluation tasks), `summary`
(what a round did), `tracking` (TensorBoard, Weights & Biases, trackio), `trained` (where the trained model lies), `weights` (how the model was loaded),
`wording` (how a run speaks to its user).
"""

__all__ = [
    "compared",
    "ending",
    "example",
    "folder",
    "methods",
    "next_step",
    "prompts",
    "resuming",
    "samples",
    "sets",
    "summary",
    "tracking",
    "trained",
    "weights",
    "wording",
]
