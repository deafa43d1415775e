"""Connect a venue of your own: copy this file, make these calls your venue's, and run it instead of the paper venue.

    python examples/venue_adapter.py --settings tickpilot.yaml --venue 127.0.0.1:7497

`LineVenue` is all that a venue needs: it speaks JSON lines with the simulated exchange beside this file. The adapter
around it (agents/venue/adapter) keeps what every adapter must: it reads `orders` and `control`, obeys epochs, `seq` and
halts, refuses what is old, answers on `reports` in the partition number of the order's record with totals, and survives
a restart. docs/venue-adapters.md numbers each guarantee; `LineVenue` must see to these:

1. `submit` returns when the venue has the order, raises VenueRefused when it never will, VenueAway when nobody knows.
2. The venue knows an order by our order id, and `state` tells of it, finished or not, over reconnects and restarts.
3. A VenueOrder is the whole order: totals since its beginning, never a difference.
4. What the order says is kept: limit, IOC, FOK, GTX (post-only), reduce-only. Refuse what your venue can't do.
5. Nothing waits without a bound, and nothing grows without one.
"""

import argparse
import asyncio
import itertools
import logging
from collections import deque
from pathlib import Path
from typing import cast

import msgspec

from agents.cli.options import connect_to, load
from agents.lifecycle.process import run_agents, run_async
from agents.venue.adapter import AdapterAgent, AdapterConfig, VenueAway, VenueOrder, VenueRefused
from messages import Order, SystemClock
from messages.bus.checks import require
from messages.bus.examine import examine

TERMS = ("order_id", "instrument", "side", "quantity", "order_type", "time_in_force", "limit_price", "reduce_only")
MOST_EVENTS, FEW_EVENTS, LONGEST_LINE = 10_000, 1_000, 2**20


class Reply(msgspec.Struct, frozen=True):
    """A line from the exchange: the answer to call number `call`, or an order that has changed."""

    call: int | None = None
    refused: str | None = None
    order: VenueOrder | None = None


class LineVenue:
    """A venue that speaks JSON lines over TCP."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._wire = _Wire()

    async def connect(self) -> None:
        await self.close()
        self._wire = _Wire()
        try:
            await asyncio.get_running_loop().create_connection(lambda: self._wire, self._host, self._port)
        except OSError as error:
            raise VenueAway(f"{self._host}:{self._port}: {error}; look whether the venue is up") from error

    async def submit(self, order: Order) -> None:
        await self._ask("submit", **{term: getattr(order, term) for term in TERMS})

    async def cancel(self, order_id: str) -> None:
        await self._ask("cancel", order_id=order_id)

    async def state(self, order_id: str) -> VenueOrder | None:
        return (await self._ask("state", order_id=order_id)).order

    async def next_event(self, timeout_s: float) -> VenueOrder | None:
        return await self._wire.next_event(timeout_s)

    async def close(self) -> None:
        self._wire.close()

    async def _ask(self, call: str, **arguments: object) -> Reply:
        reply = await self._wire.ask(call, arguments)
        if reply.refused is not None:
            raise VenueRefused(reply.refused)
        return reply


class _Wire(asyncio.Protocol):
    """One connection: lines in, sorted into answers and events. Once lost it stays lost."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._is_lost = False
        self._rest = b""
        self._calls = itertools.count()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._events: deque[VenueOrder] = deque()
        self._news = asyncio.Event()

    async def ask(self, call: str, arguments: dict[str, object]) -> Reply:
        """Send a call and return its answer; the caller bounds the wait."""
        if self._transport is None or self._is_lost:
            raise VenueAway("there is no connection to the venue")
        number = next(self._calls)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._transport.write(msgspec.json.encode({"call": number, "do": call, **arguments}) + b"\n")
            return await answer
        finally:
            del self._waiting[number]

    async def next_event(self, timeout_s: float) -> VenueOrder | None:
        """Return the oldest event that nobody has taken; what came before a loss is taken first."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._events:
                    if self._is_lost:
                        raise VenueAway("the venue has closed the connection")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None
        event = self._events.popleft()
        if self._transport is not None and not self._is_lost and len(self._events) < FEW_EVENTS:
            self._transport.resume_reading()
        return event

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._news.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(VenueAway(f"the connection was lost: {exc or 'closed'}"))

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            reply = msgspec.json.decode(line, type=Reply)
            if reply.call is None and reply.order is not None:
                self._events.append(reply.order)
                self._news.set()
            elif (
                answer := self._waiting.get(-1 if reply.call is None else reply.call)
            ) is not None and not answer.done():
                answer.set_result(reply)
        if self._transport is None:
            return
        if len(self._rest) > LONGEST_LINE:
            self._transport.abort()  # this is no venue of ours
        if len(self._events) > MOST_EVENTS:
            self._transport.pause_reading()  # the venue has to wait: we do not fill the memory


async def run(settings_file: Path, venue: str) -> None:
    settings, clock = load(settings_file), SystemClock()
    host, _, port = venue.rpartition(":")
    bus = connect_to(settings, "adapter-1")
    try:
        require(await examine(bus, shards=settings.shards, clock=clock))
        adapter = AdapterAgent(config=AdapterConfig(), bus=bus, clock=clock, venue=LineVenue(host, int(port)))
        await run_agents([adapter])
    finally:
        await bus.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    parser = argparse.ArgumentParser(description="Carry tickpilot's orders to the simulated exchange.")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--venue", default="127.0.0.1:7497", help="HOST:PORT of simulated_exchange.py")
    arguments = parser.parse_args()
    run_async(run(arguments.settings, arguments.venue))
