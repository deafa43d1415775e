"""The simulated exchange as a program, and the example's line to it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.venue.adapter import VenueAway, VenueRefused
from examples.venue_adapter import LineVenue
from messages import Order, ReportStatus
from messages.orders import Source

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 20.0


@pytest.fixture
def port() -> Iterator[int]:
    command = [sys.executable, "examples/simulated_exchange.py", "--port", "0", "--quote", "X:99:101:10"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as exchange:
        assert exchange.stdout is not None
        yield int(exchange.stdout.readline().rsplit(" ", 1)[1])
        exchange.kill()


@pytest.fixture
def line(port: int) -> LineVenue:
    return LineVenue("127.0.0.1", port)


def order(order_id: str, quantity: float = 2.0, instrument: str = "X") -> Order:
    return Order(
        order_id=order_id,
        seq=0,
        epoch=0,
        instrument=instrument,
        side="buy",
        quantity=quantity,
        order_type="market",
        time_in_force="IOC",
        strategy="s",
        bundle_id="b",
        source=Source(topic="market", partition=0, offset=0),
        ts_decided=0,
    )


async def test_an_order_goes_there_and_comes_back(line: LineVenue) -> None:
    async with asyncio.timeout(WAIT_S):
        await line.connect()
        await line.submit(order("a"))
        event = await line.next_event(WAIT_S)
        assert event is not None
        assert (event.order_id, event.status, event.filled) == ("a", ReportStatus.FILLED, 2.0)
        state = await line.state("a")
        assert state is not None
        assert replace(state, ts=event.ts) == event
        assert await line.state("b") is None
        with pytest.raises(VenueRefused, match="not traded here"):
            await line.submit(order("c", instrument="Y"))
        with pytest.raises(VenueRefused, match="the order is filled"):
            await line.cancel("a")
        assert await line.next_event(0.01) is None
        await line.close()


async def test_whoever_is_not_connected_is_away(line: LineVenue) -> None:
    with pytest.raises(VenueAway):
        await line.submit(order("a"))
    with pytest.raises(VenueAway, match="look whether the venue is up"):
        await LineVenue("127.0.0.1", 1).connect()
    async with asyncio.timeout(WAIT_S):
        await line.connect()
        await line.close()
        with pytest.raises(VenueAway):
            await line.next_event(WAIT_S)
