"""A run for people to look at: as tables in a notebook, and as one HTML file. Neither needs torch.

Public modules: `run` (a run as tables), `page` (the HTML file).
"""

from trl_gift.report.page import DEFAULT_SAMPLES, Written, report_of, write_report
from trl_gift.report.run import Run, load_run

__all__ = ["DEFAULT_SAMPLES", "Run", "Written", "load_run", "page", "report_of", "run", "write_report"]
