"""The error about test code that cannot be used."""

from __future__ import annotations


class Unsupported(ValueError):
    """Test code that holds a construct which cannot be used; the message names it and what to write instead."""
