"""`Plan`: which layers confine a worker; and `PLANS`, the plans that are safe enough, from the best to the weakest.

1. Landlock + seccomp, with namespaces and a private root where the machine allows them;
2. a private read-only root in user namespaces + seccomp, for kernels without Landlock;
3. seccomp alone, with every opening of a file refused once the modules are loaded.

Rlimits, an empty environment, no capabilities, `no_new_privs` and death with the parent hold under every plan.

`Plan` is a named tuple, because workers load this module, and `dataclasses` would bring `inspect` into every fork.
"""

from __future__ import annotations

from typing import NamedTuple


class Plan(NamedTuple):
    """The layers that a worker puts in force; by default all of them."""

    landlock: bool = True
    seccomp: bool = True
    namespaces: bool = True

    @property
    def files(self) -> bool:
        """Whether programs may open files: only where some layer decides which ones."""
        return self.landlock or self.namespaces or not self.seccomp

    def describe(self) -> str:
        """The layers in one short string, as outcomes record them."""
        names = [name for name, on in self._asdict().items() if on]
        if self.seccomp and not self.files:
            names.append("nofiles")
        return "+".join(names) or "none"


PLANS = (
    Plan(),
    Plan(namespaces=False),
    Plan(landlock=False),
    Plan(landlock=False, namespaces=False),
)
NONE = Plan(landlock=False, seccomp=False, namespaces=False)
