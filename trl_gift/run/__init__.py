"""A run on disk and in trackers.

Public modules: `folder` (where artefacts lie, when a run may start or continue), `next_step` (what a run does next),
`resuming` (what a run continues from), `samples` (the samples of the rounds, read once), `summary` (what a round did),
`tracking` (TensorBoard, Weights & Biases, trackio).
"""

__all__ = ["folder", "next_step", "resuming", "samples", "summary", "tracking"]
