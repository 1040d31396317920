"""How much memory this process may take: the machine's, or what a container leaves of it."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_memory() -> int:
    """Bytes of RAM of this machine, or the limit of the container if that is lower."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [path.read_text().strip() for path in map(Path, _CGROUP_LIMITS) if path.is_file()]
    return min([physical, *(int(limit) for limit in limits if limit.isdigit())])
