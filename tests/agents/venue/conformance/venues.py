"""Venues under test: the paper venue, and the adapter of examples/ with its simulated exchange behind real sockets."""

import asyncio
from collections.abc import Callable
from typing import Protocol
from uuid import uuid4

from agents.lifecycle.agent import Agent
from agents.risk.instruments import Instrument
from agents.venue import VenueAgent, VenueConfig
from agents.venue.adapter import AdapterAgent, AdapterConfig
from agents.venue.conformance import Offer
from examples.simulated_exchange import ExchangeServer
from examples.venue_adapter import LineVenue
from messages import TOPICS, Bus, Clock, Fatal, Quote, SystemClock, connect
from messages.bus.memory.broker import MemoryBroker

X = Instrument(instrument="X", price_step=0.5, quantity_step=0.01, taker_fee_bps=5.0, maker_fee_bps=1.0)
SHARDS = 3
ADAPTER = AdapterConfig(ask_again_s=0.02, venue_timeout_s=0.2, arrives_within_ms=300)
PAPER = VenueConfig(latency_ns=1_000_000)
ALL = frozenset(Offer)


class Buses(Protocol):
    """Connections to one cluster with new topics. After `kill` nothing done through a connection has an effect."""

    def connect(self, client: str) -> Bus: ...

    async def kill(self, client: str) -> None: ...


class MemoryBuses:
    """A broker in memory; clients that are dead can do nothing any more."""

    def __init__(self) -> None:
        self._dead: set[str] = set()
        self._broker = MemoryBroker(clock=SystemClock(), faults=self)

    def connect(self, client: str) -> Bus:
        return self._broker.connect(client)

    async def kill(self, client: str) -> None:
        self._dead.add(client)

    async def before(self, client: str, operation: str) -> None:
        if client in self._dead:
            raise Fatal(f"{client} was killed before {operation}")

    async def after(self, client: str, operation: str) -> None:
        if client in self._dead:
            raise Fatal(f"{client} was killed in {operation}")


class KafkaBuses:
    """New topics on a real Kafka; a killed client's connections are gone at once."""

    def __init__(self, url: str) -> None:
        self._url, self._prefix = url, f"conformance-{uuid4().hex[:12]}-"
        self._buses: dict[str, Bus] = {}

    def connect(self, client: str) -> Bus:
        self._buses[client] = bus = connect(self._url, client=client, prefix=self._prefix)
        return bus

    async def kill(self, client: str) -> None:
        await self._buses[client].stop()


class UnderTest:
    """An agent that is started and ended again and again, each time with a connection of its own."""

    def __init__(self, buses: Buses, make: Callable[[Bus, Clock], Agent], server: ExchangeServer | None = None) -> None:
        self.clock: Clock = SystemClock()
        self.bus = buses.connect("conformance")
        self.instrument, self.offers = X, ALL
        self.server = server
        self._buses, self._make = buses, make
        self._lives = 0
        self._agent: Agent | None = None
        self._bus: Bus | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._lives += 1
        self._bus = self._buses.connect(f"venue-{self._lives}")
        self._agent = self._make(self._bus, self.clock)
        await self._agent.start()
        self._running = asyncio.create_task(self._agent.run())

    async def stop(self) -> None:
        if self._agent is not None and self._running is not None and self._bus is not None:
            await self._agent.stop()
            await self._running
            await self._bus.stop()
        self._agent = None

    async def kill(self) -> None:
        if self._agent is not None and self._running is not None and self._bus is not None:
            await self._buses.kill(f"venue-{self._lives}")
            await asyncio.gather(self._agent.stop(), self._running, return_exceptions=True)
            await self._bus.stop()
        self._agent = None

    async def show(self, quote: Quote) -> None:
        if self.server is not None:
            self.server.exchange.quote(quote.instrument, quote.bid, quote.ask, quote.bid_size)

    async def position(self) -> float | None:
        return None if self.server is None else self.server.exchange.positions[self.instrument.instrument]

    async def close(self) -> None:
        """End what is left."""
        await self.kill()
        if self.server is not None:
            await self.server.stop()
        await self.bus.stop()


async def paper(buses: Buses) -> UnderTest:
    """Return the paper venue."""

    def make(bus: Bus, clock: Clock) -> Agent:
        return VenueAgent(config=PAPER, bus=bus, clock=clock, instruments={X.instrument: X})

    return await _with_topics(UnderTest(buses, make))


async def adapter(
    buses: Buses, agent: type[AdapterAgent] = AdapterAgent, line: type[LineVenue] = LineVenue
) -> UnderTest:
    """Return the adapter before a simulated exchange that listens on a port of its own."""
    server = ExchangeServer()
    port = await server.start()

    def make(bus: Bus, clock: Clock) -> Agent:
        return agent(config=ADAPTER, bus=bus, clock=clock, venue=line("127.0.0.1", port))

    return await _with_topics(UnderTest(buses, make, server))


async def _with_topics(venue: UnderTest) -> UnderTest:
    await venue.bus.create_topics(TOPICS.values(), shards=SHARDS)
    return venue
