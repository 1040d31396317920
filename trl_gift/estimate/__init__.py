"""What a run costs, before it starts: tokens, programs, hours, memory, disk.

    estimate_run(parts)  ->  RunEstimate  ->  estimate_text

`memory` is one page of arithmetic, `work` counts tokens, programs, steps and disk. `model` reads a model's shape from its
config, `calibration` measures this machine for some seconds, `advice` finds the options that make a run fit. `piloting` draws the programs of a
pilot, and `forecast` says from them whether a run will help; `headroom` extrapolates its pass@k.
"""

from trl_gift.estimate.advice import Change
from trl_gift.estimate.calibration import DEFAULT_SECONDS, DEFAULT_TASKS, Calibration, calibrate, calibration_config
from trl_gift.estimate.device import GIB, Device, given_device, this_device
from trl_gift.estimate.forecast import Estimated, Forecast, Verdict, forecast_text, run_forecast
from trl_gift.estimate.memory import UNCERTAINTY, StageMemory
from trl_gift.estimate.run import Hours, RunEstimate, RunParts, estimate_run
from trl_gift.estimate.text import estimate_text

__all__ = [
    "DEFAULT_SECONDS",
    "DEFAULT_TASKS",
    "GIB",
    "UNCERTAINTY",
    "Calibration",
    "Change",
    "Device",
    "Estimated",
    "Forecast",
    "Hours",
    "RunEstimate",
    "RunParts",
    "StageMemory",
    "Verdict",
    "calibrate",
    "calibration_config",
    "estimate_run",
    "estimate_text",
    "forecast_text",
    "given_device",
    "run_forecast",
    "this_device",
]
