"""The adapter when its venue is slow, silent or away: an order is submitted once or never, and always answered."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from agents.venue.adapter import VenueAway
from agents.venue.conformance.desk import MID, Desk
from examples.venue_adapter import LineVenue
from messages import Heartbeat, Order, ReportStatus, decode
from messages.bus.reading import read_all
from tests.agents.venue.conformance import venues
from tests.agents.venue.conformance.venues import ADAPTER, MemoryBuses, UnderTest, adapter


@pytest.fixture
async def venue() -> AsyncIterator[UnderTest]:
    under_test = await adapter(MemoryBuses())
    yield under_test
    await under_test.close()


@pytest.fixture
async def desk(venue: UnderTest) -> AsyncIterator[Desk]:
    desk = await Desk.open(venue, patience_s=20)
    yield desk
    await desk.close()


def submissions(venue: UnderTest, order: Order) -> int:
    assert venue.server is not None
    return venue.server.exchange.submissions[order.order_id]


async def test_an_order_whose_answer_is_lost_is_asked_about_and_never_sent_again(desk: Desk, venue: UnderTest) -> None:
    assert venue.server is not None
    await venue.start()
    await desk.barrier()
    venue.server.is_mute = True
    order = await desk.order(quantity=2)
    await desk.until(lambda: submissions(venue, order) or None, "the order at the exchange")
    venue.server.drop_connections()
    venue.server.is_mute = False
    said = await desk.ended(order)
    assert [report.status for report in said] == [ReportStatus.FILLED]
    assert submissions(venue, order) == 1


async def test_what_resting_orders_did_while_the_connection_was_lost_is_told(desk: Desk, venue: UnderTest) -> None:
    assert venue.server is not None
    await venue.start()
    resting = await desk.order(quantity=3, limit=MID - 5, time_in_force="GTC")
    await desk.rests(resting)
    venue.server.drop_connections()
    await desk.show(MID - 9, MID - 7)
    assert (await desk.ended(resting))[-1].status is ReportStatus.FILLED


async def test_an_order_waits_for_the_venue_and_is_refused_when_it_is_too_old_then(
    desk: Desk, venue: UnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_up = asyncio.Event()
    connect = LineVenue.connect

    async def late(line: LineVenue) -> None:
        if not is_up.is_set():
            raise VenueAway("not yet")
        await connect(line)

    monkeypatch.setattr(LineVenue, "connect", late)
    await venue.start()
    old = await desk.order(ts_decided=venue.clock.now_ns() - 4_900_000_000)
    young = await desk.order()
    assert desk.said(old) == []
    await desk.until(lambda: venue.clock.now_ns() - old.ts_decided > 5_000_000_000 or None, "an order that is too old")
    is_up.set()
    assert (await desk.ended(young))[-1].status is ReportStatus.FILLED
    assert (await desk.ended(old))[-1].status is ReportStatus.REJECTED
    assert submissions(venue, old) == 0


async def test_an_order_that_comes_to_the_venue_after_it_was_given_up_is_cancelled(
    desk: Desk, venue: UnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = venue.server
    assert server is not None

    async def lost(line: LineVenue, order: Order) -> None:
        raise VenueAway("it may have arrived")

    monkeypatch.setattr(LineVenue, "submit", lost)
    await venue.start()
    order = await desk.order(quantity=2, limit=MID - 50, time_in_force="GTC")
    assert (await desk.ended(order))[-1].status is ReportStatus.REJECTED
    terms = {name: getattr(order, name) for name in order.__struct_fields__}
    server.exchange.submit(terms)  # it had been under way all the time
    await desk.until(lambda: server.exchange.orders[order.order_id].status == "canceled" or None, "its cancel")


async def test_a_cancel_of_an_order_in_doubt_is_carried_out_when_the_doubt_is_over(
    desk: Desk, venue: UnderTest
) -> None:
    assert venue.server is not None
    await venue.start()
    await desk.barrier()
    venue.server.is_mute = True
    order = await desk.order(quantity=2, limit=MID - 50, time_in_force="GTC")
    await desk.until(lambda: submissions(venue, order) or None, "the order at the exchange")
    await desk.cancel(order)
    venue.server.is_mute = False
    assert (await desk.ended(order))[-1].status is ReportStatus.CANCELED
    assert submissions(venue, order) == 1


async def test_cancels_overtake_orders_that_wait_for_the_venue(desk: Desk, venue: UnderTest) -> None:
    assert venue.server is not None
    await venue.start()
    resting = await desk.order(quantity=2, limit=MID - 50, time_in_force="GTC")
    await desk.rests(resting)
    venue.server.is_mute = True
    first, waiting = await desk.order(), await desk.order(quantity=3)
    await desk.until(lambda: submissions(venue, first) or None, "an order that hangs")
    await desk.cancel(resting)
    await desk.cancel(waiting)
    server = venue.server
    await desk.until(lambda: server.exchange.orders[resting.order_id].status == "canceled" or None, "the cancel")
    assert submissions(venue, waiting) == 0
    venue.server.is_mute = False
    assert (await desk.ended(waiting))[-1].status is ReportStatus.CANCELED
    assert (await desk.ended(first))[-1].status is ReportStatus.FILLED
    assert submissions(venue, waiting) == 0


async def test_what_finds_no_room_is_refused(desk: Desk, venue: UnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert venue.server is not None
    monkeypatch.setattr(venues, "ADAPTER", replace(ADAPTER, queued_orders=2, venue_timeout_s=60.0))
    await venue.start()
    await desk.barrier()
    venue.server.is_mute = True
    first = await desk.order()
    await desk.until(lambda: submissions(venue, first) or None, "an order that hangs")
    orders = [first, *[await desk.order() for _ in range(3)]]
    said = await desk.ended(orders[3])
    assert said[-1].reason == "2 orders wait for the venue already"
    assert desk.said(orders[2]) == []


async def test_it_shows_a_heartbeat(desk: Desk, venue: UnderTest) -> None:
    await venue.start()
    await desk.barrier()
    beats, _ = await read_all(venue.bus, ["status"])
    beat = decode("status", beats[-1].value)
    assert isinstance(beat, Heartbeat)
    assert (beat.agent, beat.partitions) == ("venue", (0, 1, 2))
