"""Reports carry on the trace context of their order, over a restart too."""

from collections.abc import AsyncIterator

import pytest

from agents.venue import traces
from agents.venue.traces import Traces
from messages import Claim, ExecutionReport, NewRecord, Record, ReportStatus, decode, encode
from messages.bus.reading import read_all
from messages.codec import Headers
from messages.orders import OrderMessage
from tests.agents.venue.market import cancel, order
from tests.agents.venue.test_agent import World, at_home, quoted
from tests.builders import record, report

TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
OTHER = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-00")
BAD = ("traceparent", b"00-zz")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.open()
    yield world
    await world.stop_venue()


async def send(world: World, message: OrderMessage, headers: Headers = ()) -> None:
    producer = await world.bus.producer()
    await producer.publish("orders", NewRecord(key=b"BTC", value=encode(message), headers=headers))
    await world.broker.settle()


async def answered(world: World) -> list[tuple[str, str, Headers]]:
    found, _ = await read_all(world.bus, ["reports"])
    reports: list[tuple[ExecutionReport, Headers]] = [(decode("reports", r.value), r.headers) for r in found]
    return [(report.order_id, report.status.value, headers) for report, headers in reports]


async def test_reports_have_the_trace_of_their_order(world: World) -> None:
    await world.start_venue()
    await send(world, Claim(owner="e"))
    await world.tick(0, quoted(0))
    resting = {"limit_price": 50.0, "time_in_force": "GTC", **at_home(0)}
    await send(world, order(0, 0, **resting), (("note", b"x"), TRACE))
    await send(world, order(1, 0, **resting), (BAD,))
    await world.tick(6, quoted(6))
    assert await answered(world) == [("o0", "new", (TRACE,)), ("o1", "new", ())]
    await world.stop_venue()
    await world.start_venue()
    await send(world, cancel(2, "o0"), (OTHER,))
    await send(world, cancel(3, "o1"))
    await world.tick(12, quoted(12))
    assert (await answered(world))[2:] == [("o0", "canceled", (TRACE,)), ("o1", "canceled", ())]


def traced(offset: int) -> Record:
    made = record(order(0, 0), offset, topic="orders")
    return Record(
        **{name: getattr(made, name) for name in made.__struct_fields__ if name != "headers"}, headers=(TRACE,)
    )


def test_the_last_report_takes_the_trace_with_it() -> None:
    kept = Traces()
    kept.note(traced(1))
    assert kept.headers_of(report(order(0, 0), status=ReportStatus.NEW)) == (TRACE,)
    assert kept.headers_of(report(order(0, 0), status=ReportStatus.FILLED)) == (TRACE,)
    assert len(kept) == 0


def test_traces_are_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_TRACES", 2)
    kept = Traces()
    for offset in range(1, 4):
        kept.note(traced(offset))
    assert len(kept) == 2
    assert kept.headers_of(report(order(0, 0), status=ReportStatus.NEW)) == ()  # that of offset 1
