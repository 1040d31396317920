"""Makes the playground's model: its training pairs, its pretraining, its measured quality and its card.

python -m tools.playground.pretrain --output-dir out
"""
