"""Numbers agree with their words."""

from __future__ import annotations

import json

import pytest

from trl_gift.common.words import agree, json_reason, plural


def test_one_and_several():
    assert [plural(count, "task") for count in (0, 1, 2, 2000)] == ["0 tasks", "1 task", "2 tasks", "2,000 tasks"]
    assert plural(2, "class", "classes") == "2 classes"
    assert [agree(count, "has", "have") for count in (0, 1, 2)] == ["have", "has", "have"]


@pytest.mark.parametrize(("text", "reason"), [("{'a'", "column 2"), ("{\n'a': 1}", "line 2, column 1")])
def test_broken_json_has_one_place(text, reason):
    with pytest.raises(json.JSONDecodeError) as found:
        json.loads(text)
    assert json_reason(found.value) == f"Expecting property name enclosed in double quotes, {reason}"
