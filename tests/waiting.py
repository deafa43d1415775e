"""Waiting in tests: for the thing itself, never for a time, and never for ever."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_PAUSE_S = 0.02


class NeverHappened(AssertionError):  # noqa: N818 - an answer of the test, not an accident
    """Raised when something did not happen in time; the text says what, and what was seen last."""

    def __init__(self, what: str, timeout_s: float, seen: object) -> None:
        super().__init__(f"{what}: not within {timeout_s:g} s; seen last: {seen!r}")


def eventually(look: Callable[[], T], *, what: str, timeout_s: float = 10.0, until: Callable[[T], object] = bool) -> T:
    """Return what `look` returns as soon as `until` is true of it. Raises NeverHappened after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not until(seen := look()):
        if time.monotonic() > deadline:
            raise NeverHappened(what, timeout_s, seen)
        time.sleep(_PAUSE_S)
    return seen
