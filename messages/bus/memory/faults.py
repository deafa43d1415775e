"""What goes wrong on a Kafka, as one seeded plan for the in-memory bus: a seed that failed can be run again."""

import random
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from messages.errors import BusTimeout, BusUnavailable

if TYPE_CHECKING:
    from messages.bus.memory.broker import MemoryBroker

_LOG_LINES = 100_000
_CALL_S = 1.0  # a client gives up on an answer after so long


class FaultRates(Struct, frozen=True, kw_only=True):
    """How often each thing happens, as a share of the operations that it can happen to; 0 is never.

    A dropped acknowledgement: the record or commit is there, but its caller gets BusTimeout. A dropped request: the
    same without an effect. A delay waits up to `longest_delay_ms` of the broker's clock. A revoke makes every group
    share anew. An expiry takes a member's partitions without asking it, so that the next owner reads again what was not
    committed. An outage lets everything fail for up to `longest_outage_ms`.
    """

    delay: float = 0.0
    drop_acknowledgement: float = 0.0
    drop_request: float = 0.0
    revoke: float = 0.0
    expire: float = 0.0
    outage: float = 0.0
    longest_delay_ms: int = 50
    longest_outage_ms: int = 500


class SeededFaults:
    """A plan of faults, decided by `seed` and the order of operations alone; `log` says what it did.

    Give it to a MemoryBroker with a virtual clock, then `bind` it to that broker. `spared` clients meet no faults.
    """

    def __init__(self, seed: int, rates: FaultRates, *, spared: frozenset[str] = frozenset()) -> None:
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.is_over = False
        self._random, self._rates, self._spared = random.Random(seed), rates, spared
        self._broker: MemoryBroker | None = None
        self._operations = 0
        self._back_ns = 0

    def bind(self, broker: "MemoryBroker") -> None:
        """Say whose clock and groups this is about."""
        self._broker = broker

    def end(self) -> None:
        """No more faults from now on, for what a test waits for at its end."""
        self.is_over = True

    async def before(self, client: str, operation: str) -> None:
        broker = self._bound(client)
        if broker is None:
            return
        self._operations += 1
        await self._away(broker, client, operation)
        if self._happens(self._rates.delay):
            await self._delay(broker, client, operation)
        if self._happens(self._rates.revoke):
            self._note(client, operation, "groups share anew")
            broker.rebalance()
        if operation == "poll" and self._happens(self._rates.expire):
            self._note(client, operation, "its memberships run out")
            broker.expire(client)
        if _changes(operation) and self._happens(self._rates.drop_request):
            self._note(client, operation, "request dropped")
            raise BusTimeout(operation, _CALL_S)

    async def after(self, client: str, operation: str) -> None:
        broker = self._bound(client)
        if broker is None:
            return
        if _changes(operation) and self._happens(self._rates.drop_acknowledgement):
            self._note(client, operation, "acknowledgement dropped")
            raise BusTimeout(operation, _CALL_S)
        if self._happens(self._rates.delay):
            await self._delay(broker, client, operation)

    def _bound(self, client: str) -> "MemoryBroker | None":
        return None if self.is_over or client in self._spared else self._broker

    async def _away(self, broker: "MemoryBroker", client: str, operation: str) -> None:
        now_ns = broker.clock.now_ns()
        if now_ns >= self._back_ns and self._happens(self._rates.outage):
            outage_ms = self._random.randint(1, self._rates.longest_outage_ms)
            self._back_ns = now_ns + outage_ms * 1_000_000
            self._note(client, operation, f"the broker is away for {outage_ms} ms")
        if now_ns < self._back_ns:
            # As a client that waits for its broker: the answer is late, and it is an error.
            await broker.clock.sleep((self._back_ns - now_ns) / 1e9 * self._random.random() + 0.001)
            if self._random.random() < 0.5:
                raise BusTimeout(operation, _CALL_S)
            raise BusUnavailable("memory://", "the broker is away")

    async def _delay(self, broker: "MemoryBroker", client: str, operation: str) -> None:
        delay_ms = self._random.randint(1, self._rates.longest_delay_ms)
        self._note(client, operation, f"delayed by {delay_ms} ms")
        await broker.clock.sleep(delay_ms / 1000)

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate

    def _note(self, client: str, operation: str, what: str) -> None:
        self.log.append(f"{self._operations} {client} {operation}: {what}")


def _changes(operation: str) -> bool:
    """Whether the operation has an effect that its caller may not learn of."""
    return operation == "commit" or operation.startswith("append")
