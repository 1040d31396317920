"""What goes to the Hub: the model card, the samples dataset, and which files leave the machine.

The cards say what a run's records say (`facts`), in the words of `templates/`. `Publisher` is what a trainer holds.
"""

from trl_gift.hub.cards import PAPER
from trl_gift.hub.describe import training_line
from trl_gift.hub.edit_sequences import push_edit_sequences
from trl_gift.hub.exports import ExportFacts, push_export, write_export_card
from trl_gift.hub.merged_card import write_merged_card
from trl_gift.hub.names import dataset_origin
from trl_gift.hub.publisher import Hooks, Publisher, PushCheckpoints
from trl_gift.hub.repositories import Repositories

__all__ = [
    "PAPER",
    "ExportFacts",
    "Hooks",
    "Publisher",
    "PushCheckpoints",
    "Repositories",
    "dataset_origin",
    "push_edit_sequences",
    "push_export",
    "training_line",
    "write_export_card",
    "write_merged_card",
]
