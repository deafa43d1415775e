"""The contract of a source of market messages."""

from collections.abc import Iterator
from typing import Protocol

from messages.market import MarketMessage


class Source(Protocol):
    """Market messages in order of `ts_recv`. Can be iterated more than once, with equal messages each time."""

    @property
    def instruments(self) -> tuple[str, ...]:
        """The names that the messages carry, in order of first appearance."""
        ...

    @property
    def count(self) -> int | None:
        """How many messages will come, or None when that is not known beforehand."""
        ...

    def __iter__(self) -> Iterator[MarketMessage]:
        """Yield the messages. Raises FeedRefused for input that can't be understood."""
        ...
