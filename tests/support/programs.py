"""Programs for sandboxes and their tests."""

from __future__ import annotations

from trl_gift.sandbox import AssertTests, Limits

ADD = "def add(a, b):\n    return a + b\n"
ADDS = AssertTests("assert add(1, 2) == 3\nassert add(2, 2) == 4\nassert add(-1, 1) == 0", entry_point="add")
# A program that ends only if it is ended, with limits that let it.
SLEEP = "import time\ntime.sleep(600)\n"
ENDLESS = Limits(cpu_s=5, wall_s=600)
# It takes CPU time, and so it lasts longer where a test that wants to meet it running is slower too.
BUSY_ADD = f"import time\nwhile time.process_time() < 0.7: pass\n{ADD}"
