"""The device that a run has to fit on: how much memory it has, and how much of that a run can use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from trl_gift.common.memory import machine_memory

GIB = 2**30
# What a process takes before its first tensor, and the share of memory that fragmentation loses. GPU: context, cuBLAS and
# cuDNN workspaces. CPU: Python with torch, transformers and the tokenizer.
_RESERVED = {"gpu": (0.6 * GIB, 0.04), "cpu": (0.7 * GIB, 0.05)}


@dataclass(frozen=True, slots=True)
class Device:
    """A device.

    Attributes:
        name: Its name, for people.
        kind: `"gpu"` or `"cpu"`.
        memory: Its memory in bytes; on a CPU the machine's RAM, or the container's limit.
    """

    name: str
    kind: Literal["gpu", "cpu"]
    memory: float

    @property
    def usable(self) -> float:
        """Bytes that a run's tensors can take."""
        reserve, lost_share = _RESERVED[self.kind]
        return self.memory * (1 - lost_share) - reserve


def this_device(use_cpu: bool) -> Device:
    """The device that a run on this machine would use."""
    if torch.cuda.is_available() and not use_cpu:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return Device(properties.name, "gpu", properties.total_memory)
    return Device("CPU", "cpu", machine_memory())


def given_device(memory_gib: float) -> Device:
    """A card with this much memory."""
    return Device(f"a card of {memory_gib:g} GiB", "gpu", memory_gib * GIB)
