"""What goes to the Hub: the model card, the samples dataset, and which files leave the machine.

Works from a run's records alone; `trl_gift.hub.publisher` is the trainer's side.
"""
