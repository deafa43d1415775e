"""Signs of life of the shards, from what was read back."""

from collections.abc import Iterable

from tests.drills.exactness.world import SHARDS
from tests.journeys.plain_kafka import Log


class Progress:
    """Knows how far each shard has decided, and when: reads only what is new since it was asked last."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._batches = self._orders = 0
        self._decided_ns = dict.fromkeys(range(SHARDS), 0)
        self._ordered_ns = 0

    def has_decided_since(self, ns: int, shards: Iterable[int] = range(SHARDS)) -> bool:
        """Whether each of the shards has decided market records at a step clock beyond `ns`."""
        self._take()
        return all(self._decided_ns[shard] > ns for shard in shards)

    def has_ordered_since(self, ns: int) -> bool:
        """Whether an order was decided after `ns`."""
        self._take()
        return self._ordered_ns > ns

    def _take(self) -> None:
        new = self._log.of("decisions", after=self._batches)
        self._batches += len(new)
        for message in new:
            for logged in message.get("steps", ()):
                step = logged["step"]
                if step["market_to"] > step["market_from"]:
                    shard = message["partition"]
                    self._decided_ns[shard] = max(self._decided_ns[shard], step["clock_ns"])
        orders = self._log.of("orders", after=self._orders)
        self._orders += len(orders)
        for message in orders:
            self._ordered_ns = max(self._ordered_ns, message.get("ts_decided", 0))
