"""The completion server of the tests as a command, for the tests of servers that we start ourselves."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The server is a module of the tests; its folder is where `python -m` looks.
COMMAND = f"{sys.executable} -m tests.support.completion_server --port {{port}}"
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
