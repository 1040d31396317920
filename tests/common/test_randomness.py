"""Keys of streams: a function of the names, of their types and of where one ends and the next begins."""

from __future__ import annotations

from trl_gift.common.randomness import generator, stream_key, uniforms


def test_distinct_names_give_distinct_keys():
    names = [
        (1, "t", 2, "code"), (1, "t", 2, "description"), (2, "t", 2, "code"), (1, "u", 2, "code"), (1, "t", 3, "code"),
        (1, "t", "2", "code"), ("1", "t", 2, "code"), ("code", 2, "t", 1), (1, "t", 2), (1, "t2", "code"), ("a", "b"),
        ("ab",), ("a b",), (12,), (1, 2), ("12",), (1, "2"),
    ]  # fmt: skip
    assert len({stream_key(*each) for each in names}) == len(names)
    assert all(0 <= stream_key(*each) < 2**64 for each in names)


def test_names_do_not_run_together():
    assert stream_key("a", "b") != stream_key("astr:b")
    assert stream_key(1, 2) != stream_key(1, "2") != stream_key("1int:2")


def test_a_key_says_the_stream():
    key = stream_key(0, "t")
    assert list(uniforms(key, 5)) == list(uniforms(key, 9)[:5]) == list(generator(key).random(5))
    assert not set(uniforms(key, 5)) & set(uniforms(stream_key(1, "t"), 5))
