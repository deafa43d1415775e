"""Orders and cancels at random, while the adapter is killed and the line to its venue drops, hangs and comes back."""

import random
from collections.abc import Awaitable, Callable

import pytest

from agents.venue.conformance.desk import HALF_SPREAD, MID, Desk
from messages import Order
from tests.agents.venue.conformance.venues import MemoryBuses, UnderTest, adapter

STEPS = 150
FORCES = ("IOC", "IOC", "FOK", "GTC", "GTC", "GTX")


class Chaos:
    """One run; the seed decides what happens, not how the parts take turns."""

    def __init__(self, desk: Desk, venue: UnderTest, seed: int) -> None:
        self.desk, self.venue, self.chance = desk, venue, random.Random(seed)
        self.orders: list[Order] = []
        self._mid = MID

    async def step(self) -> None:
        chance = self.chance
        kinds: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (20, self.order),
            (6, self.cancel),
            (10, self.move),
            (1, self.drop),
            (1, self.mute),
            (1, self.restart),
        ]
        (kind,) = chance.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])
        await kind()

    async def order(self) -> None:
        chance = self.chance
        force = chance.choice(FORCES)
        limit = None if force == "IOC" and chance.random() < 0.5 else self._mid + chance.randint(-6, 6)
        side = chance.choice(("buy", "sell"))
        changes = {"time_in_force": force, "reduce_only": chance.random() < 0.1}
        self.orders.append(await self.desk.order(side, chance.randint(1, 9), limit, **changes))

    async def cancel(self) -> None:
        if self.orders:
            await self.desk.cancel(self.chance.choice(self.orders))

    async def move(self) -> None:
        self._mid += self.chance.randint(-4, 4)
        await self.desk.show(self._mid - HALF_SPREAD, self._mid + HALF_SPREAD, self.chance.randint(1, 20))

    async def drop(self) -> None:
        assert self.venue.server is not None
        self.venue.server.is_mute = False
        self.venue.server.drop_connections()

    async def mute(self) -> None:
        assert self.venue.server is not None
        self.venue.server.is_mute = not self.venue.server.is_mute

    async def restart(self) -> None:
        await (self.venue.kill if self.chance.random() < 0.7 else self.venue.stop)()
        await self.venue.start()

    async def end(self) -> None:
        """Let the line work, cancel what may be left, and wait for all ends."""
        await self.drop()
        for order in self.orders:
            await self.desk.cancel(order)
        for order in self.orders:
            await self.desk.ended(order)
        await self.desk.barrier()


@pytest.mark.parametrize("seed", range(2))
async def test_no_order_is_submitted_twice_and_reports_are_what_was_traded(seed: int) -> None:
    venue = await adapter(MemoryBuses())
    assert venue.server is not None
    desk = await Desk.open(venue, patience_s=30)
    try:
        await venue.start()
        chaos = Chaos(desk, venue, seed)
        for _ in range(STEPS):
            await chaos.step()
            await desk.listen(chaos.chance.choice((0.0, 0.005, 0.02)))
        await chaos.end()
        await desk.check_position()
        await venue.stop()
        await desk.check_promises()
        assert set(venue.server.exchange.submissions.values()) <= {1}
        assert venue.server.exchange.submissions, "nothing came to the venue at all"
    finally:
        await desk.close()
        await venue.close()
