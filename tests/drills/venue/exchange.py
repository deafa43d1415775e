"""The simulated exchange of examples/ with a market that walks, on a thread of its own."""

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from examples.simulated_exchange import ExchangeServer

_TICK_S = 0.005
_START_S = 10.0


class Market:
    """A server with its port; `submissions`: how often each order id came."""

    def __init__(self, instruments: tuple[str, ...]) -> None:
        self.port = 0
        self.server: ExchangeServer | None = None
        self.is_up, self._enough = threading.Event(), threading.Event()
        self._instruments = instruments

    @property
    def submissions(self) -> dict[str, int]:
        """How often each order id was submitted."""
        return {} if self.server is None else dict(self.server.exchange.submissions)

    def stop(self) -> None:
        """End at the next tick."""
        self._enough.set()

    async def run(self) -> None:
        """Quote until it is stopped."""
        self.server = server = ExchangeServer()
        prices, chance = dict.fromkeys(self._instruments, 1_000), random.Random(3)
        for name in self._instruments:
            server.exchange.quote(name, 999, 1_001, 10)
        self.port = await server.start()
        self.is_up.set()
        while not self._enough.is_set():
            name = chance.choice(self._instruments)
            prices[name] += chance.choice((-2, -1, 0, 1, 2)) - (prices[name] > 1_050) + (prices[name] < 950)
            server.exchange.quote(name, prices[name] - 1, prices[name] + 1, chance.randint(1, 20))
            await asyncio.sleep(_TICK_S)
        await server.stop()


@contextmanager
def running_market(instruments: tuple[str, ...]) -> Iterator[Market]:
    """Yield a market that is open."""
    market = Market(instruments)
    thread = threading.Thread(target=lambda: asyncio.run(market.run()), name="exchange", daemon=True)
    thread.start()
    assert market.is_up.wait(_START_S)
    try:
        yield market
    finally:
        market.stop()
        thread.join(_START_S)
