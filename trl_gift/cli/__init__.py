"""The `trl-gift` commands, each a thin module.

Public modules: `main` (the entry point).
"""

__all__ = ["main"]
