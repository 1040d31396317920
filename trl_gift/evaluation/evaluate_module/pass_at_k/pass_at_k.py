"""What `evaluate.load` reads: the metric itself lives in the package. One import a line, which is all that it can read."""

from trl_gift.evaluation.code_metric import PassAtK

__all__ = ["PassAtK"]
