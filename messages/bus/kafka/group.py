"""The bridge from aiokafka's rebalance, which runs in a task of its own, to a listener called from inside `poll`."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from aiokafka import ConsumerRebalanceListener, TopicPartition

from messages.bus.protocol import Partition, RebalanceListener
from messages.errors import BusTimeout


class _Assigned(NamedTuple):
    rebalance: int
    partitions: list[Partition]


class GroupNews:
    """What the group decided and the listener has not heard yet, and what it holds as far as it has heard.

    Partitions are given up when the listener's `on_revoked` has returned, or after `revoke_s`: a member that never
    polls holds its group up no longer than that.
    """

    def __init__(
        self,
        *,
        listener: RebalanceListener,
        prefix: str,
        revoke_s: float,
        wake: Callable[[], None],
        take: Callable[[list[Partition]], Awaitable[bool]],
    ) -> None:
        self._listener, self._prefix, self._revoke_s = listener, prefix, revoke_s
        self._wake, self._take = wake, take
        self._queue: deque[asyncio.Future[None] | _Assigned] = deque()
        self._rebalance = 0
        self._left = False
        self.held: list[Partition] = []
        self.is_rebalancing = True
        self.bridge: Any = _Bridge(self)

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to hear."""
        return bool(self._queue)

    @property
    def has_left(self) -> bool:
        """Whether `leave` was called: this membership is over."""
        return self._left

    async def revoked(self) -> None:
        """Told by aiokafka, which goes on with the rebalance when this returns."""
        self._rebalance += 1
        self.is_rebalancing = True
        if self._left or not self.held:
            return
        given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(given_up)
        self._wake()
        await asyncio.wait({given_up}, timeout=self._revoke_s)

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Told by aiokafka when the new generation has begun."""
        skip = len(self._prefix)
        ours = sorted(Partition(raw.topic[skip:], raw.partition) for raw in partitions)
        self._queue.append(_Assigned(self._rebalance, ours))
        self._wake()

    async def hear(self) -> None:
        """Tell the listener, in order, what has happened since the last poll."""
        while self._queue:
            news = self._queue[0]
            if isinstance(news, _Assigned):
                is_current = news.rebalance == self._rebalance and await self._take(news.partitions)
                self._heard(news)
                if is_current and news.rebalance == self._rebalance and not self._left:
                    self.held, self.is_rebalancing = news.partitions, False
                    self._listener.on_assigned(news.partitions)
            else:
                try:
                    await self._give_up()
                finally:
                    self._heard(news)
                    _resolve(news)

    def _heard(self, news: "asyncio.Future[None] | _Assigned") -> None:
        if self._queue and self._queue[0] is news:  # else `leave` has cleared the queue meanwhile
            self._queue.popleft()

    async def leave(self) -> None:
        """Give up what is held, and let a rebalance under way go on without the listener."""
        self._left = True
        try:
            await self._give_up()
        finally:
            for news in self._queue:
                if isinstance(news, asyncio.Future):
                    _resolve(news)
            self._queue.clear()

    async def _give_up(self) -> None:
        # Held until the listener is done, so that it can still commit.
        try:
            if self.held:
                async with asyncio.timeout(self._revoke_s):
                    await self._listener.on_revoked(self.held)
        except TimeoutError as error:
            raise BusTimeout("finishing revoked partitions", self._revoke_s) from error
        finally:
            self.held = []


def _resolve(given_up: asyncio.Future[None]) -> None:
    if not given_up.done():
        given_up.set_result(None)


class _Bridge(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    def __init__(self, news: GroupNews) -> None:
        self._news = news

    async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002 - the news knows what is held
        await self._news.revoked()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._news.assigned(assigned)
