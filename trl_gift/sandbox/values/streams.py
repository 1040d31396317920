"""Iterators across the channel: the program keeps the iterator, the judge gets a generator that asks for the next items.

An iterator may be endless, so its items cross when a test wants them. Generators give their first items one by one, because
a test may `send` values or call the program in between; later items, and those of other iterators, come in growing groups.

Not covered: `close` does not reach the program, whose `finally` does not run. `send` after a group was read ahead raises
`ValueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

_SINGLE = 32  # items of a generator that come one by one
_GROUP = 512  # most items in one answer
_LARGE = 8  # most items in one answer if they are not single numbers or texts
_FEW = (int, float, bool, str, type(None))
MAX_ITEMS = 4_000_000

Answer = tuple[list[Any], bool, Any]


class Source:
    """The program's side: an iterator, and what it gave or raised ahead of the questions.

    Args:
        iterator: The iterator.
    """

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._raised: BaseException | None = None

    def advance(self, action: str, argument: Any) -> Answer:
        """Up to `argument` next items, or the item after `send(argument)` or `throw(argument)`.

        Returns:
            The items, whether the iterator has ended, and the value with which it ended.

        Raises:
            BaseException: what the iterator raised.
        """
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error
        items: list[Any] = []
        try:
            if action != "next":
                generator: Any = self._iterator
                return [generator.send(argument) if action == "send" else generator.throw(argument)], False, None
            while len(items) < argument:
                items.append(next(self._iterator))
                if type(items[-1]) not in _FEW:
                    argument = min(argument, _LARGE)
        except StopIteration as end:
            return items, True, end.value
        except BaseException as error:
            if not items:
                raise
            self._raised = error
        return items, False, None


def stream(advance: Callable[[str, Any], Any], generator: bool) -> Generator[Any, Any, Any]:
    """The judge's side.

    Args:
        advance: Calls `Source.advance` in the program.
        generator: Whether the program's iterator takes values by `send`.
    """
    action: str = "next"
    argument: Any = None
    seen, size = 0, 1 if generator else _SINGLE
    while seen < MAX_ITEMS:
        if action == "next":
            if seen >= _SINGLE:
                size = min(2 * size, _GROUP)
            argument = size
        match advance(action, argument):
            case (list() as items, bool() as ended, value):
                pass
            case _:
                raise ValueError("an iterator that gives no items")
        action = "next"
        for place, item in enumerate(items):
            seen += 1
            try:
                sent = yield item
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001  what the tests throw into the generator
                action, argument = "throw", error
            else:
                if sent is not None:
                    action, argument = "send", sent
            if action != "next" and (ended or place + 1 < len(items)):
                raise ValueError("send and throw reach a generator of another process only among its first items")
        if ended:
            return value
        if not items:
            raise ValueError("an iterator that gives no items")
    raise MemoryError(f"more than {MAX_ITEMS} items of one iterator")
