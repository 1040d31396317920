"""The parts of `benchmarks/experiment.py`: the plan, one arm, the figures of chains, intervals, the page and its pictures."""
