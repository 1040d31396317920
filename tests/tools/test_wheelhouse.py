"""Which wheels a machine needs beside its torch."""

from importlib import metadata

import pytest

from tools.wheelhouse import closure


def test_what_a_distribution_needs_is_found_at_any_depth():
    found = closure(["trl-gift"])
    assert found["transformers"] == metadata.version("transformers")
    assert {"trl-gift", "trl", "tokenizers", "torch"} <= found.keys()
    assert "pytest" not in found  # an extra's


def test_what_torch_brings_is_left_out():
    beside = frozenset(closure(["torch"]))
    found = closure(["trl-gift[bitsandbytes]"], without=beside)
    assert {"bitsandbytes", "trl", "tokenizers"} <= found.keys()
    assert not beside & found.keys()


def test_markers_are_those_of_the_other_python():
    assert "dill" in closure(["dill; python_version >= '3.12'"], python="3.12")
    assert not closure(["dill; python_version < '3.12'"], python="3.12")


def test_what_is_not_installed_is_named():
    with pytest.raises(metadata.PackageNotFoundError, match="no-such-thing"):
        closure(["no-such-thing"])
