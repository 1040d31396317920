"""Programs for sandboxes and their tests."""

from __future__ import annotations

from trl_gift.sandbox import AssertTests

ADD = "def add(a, b):\n    return a + b\n"
ADDS = AssertTests("assert add(1, 2) == 3\nassert add(2, 2) == 4\nassert add(-1, 1) == 0", entry_point="add")
SLEEP = "import time\ntime.sleep(60)\n"
