from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from geozoom.ahead import read_ahead


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_everything_comes_in_order(depth: int) -> None:
    assert list(read_ahead(lambda: iter(range(50)), depth)) == list(range(50))
    assert list(read_ahead(lambda: iter(()), depth)) == []
    assert "read-ahead" not in threads()


def test_what_the_iterator_raises_is_raised_in_its_place() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    items = read_ahead(failing, 4)
    assert next(items) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)
    assert "read-ahead" not in threads()


def test_a_consumer_that_stops_early_stops_the_thread_and_closes_the_iterator() -> None:
    closed = []

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.append(True)

    items = read_ahead(endless, 2)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert "read-ahead" not in threads()
    assert closed
