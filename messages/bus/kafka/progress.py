"""How far a consumer is, and whether anybody waits for it: what its health is judged by."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from messages.bus.health import ReadingHealth, Verdict
from messages.bus.kafka.calls import KafkaTimeouts
from messages.bus.protocol import Partition
from messages.errors import Retryable

Positions = Callable[[], dict[Partition, int] | None]
AskEnds = Callable[[Sequence[Partition]], Awaitable[dict[Partition, int]]]


class Progress:
    """`positions` gives those of what is to be read now; None while a group is deciding who reads what.

    `ask_ends` asks the brokers, bounded. It shares the connection of the fetches, so it is asked only for partitions
    that stand still, once a look.
    """

    def __init__(self, *, timeouts: KafkaTimeouts, positions: Positions, ask_ends: AskEnds) -> None:
        self._timeouts, self._positions, self._ask_ends = timeouts, positions, ask_ends
        self._is_polling, self._polled_s = False, float("-inf")
        self._ends: dict[Partition, int] = {}
        self._health = self._new_health()

    def began(self) -> None:
        """A poll has begun."""
        self._is_polling = True

    def ended(self) -> None:
        """A poll has ended. Who polls again soon is waiting all the same."""
        self._is_polling, self._polled_s = False, asyncio.get_running_loop().time()

    def start_anew(self) -> None:
        """The raw consumer is another one now: it gets the whole stall time."""
        self._health = self._new_health()

    async def look(self, now_ns: int, failure: str | None) -> Verdict:
        """Judge what is seen now."""
        positions = self._positions()
        ends: dict[Partition, int] | None = {}
        if self._is_waited_for and positions and (idle := self._health.idle_at(positions)):
            try:
                ends = await self._ask_ends(idle)
                self._ends.update(ends)
            except Retryable:
                ends = None
            positions = self._positions()
        return self._health.look(
            now_ns, is_waiting=self._is_waited_for, positions=positions, ends=ends, failure=failure
        )

    def behind(self, highwaters: Mapping[Partition, int]) -> int:
        """Return the records between positions and ends, as far as these are known: told by fetches, or asked for."""
        positions = self._positions() or {}
        return sum(max(highwaters.get(p, 0) - at, self._ends.get(p, 0) - at, 0) for p, at in positions.items())

    @property
    def _is_waited_for(self) -> bool:
        pause_s = asyncio.get_running_loop().time() - self._polled_s
        return self._is_polling or pause_s < 2 * self._timeouts.look_s

    def _new_health(self) -> ReadingHealth:
        join_s = self._timeouts.session_s + self._timeouts.rebalance_s + self._timeouts.stall_s
        return ReadingHealth(stall_ns=round(self._timeouts.stall_s * 1e9), join_ns=round(join_s * 1e9))
