"""From samples to weights: selection, training pairs, rounds as consecutive `train()` calls, quantization, merging."""
