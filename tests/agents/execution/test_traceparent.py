"""The trace context of a market record goes on with the orders that it caused, and nowhere else."""

from agents.replay.player import rederive
from messages import NewRecord, Partition, Quote, decode, encode
from messages.codec import Headers
from messages.orders import Cancel, Claim, Order
from tests.agents.execution.exactness_plot import TICK_NS, new_shard
from tests.agents.execution.exactness_world import World
from tests.checker import check_shard

GOOD = "00-4bf92f3577b34da6a3ce929d0e0e47{:02x}-00f067aa0ba902b7-01"
TICKS = 12


def headers_of(index: int) -> Headers:
    """Two of three ticks are traced, one of them badly."""
    trace = GOOD.format(index).encode()
    return (
        (("note", b"x"), ("traceparent", trace)),
        (("traceparent", trace.upper()),),
        (),
    )[index % 3]


async def traded(*, is_traced: bool) -> World:
    world = World()
    await world.start()
    world.own("a")
    await world.settle()
    for index in range(TICKS):
        size = 5.0 if index % 2 else 1.0
        quote = Quote(
            instrument="X", ts_recv=world.clock.now_ns(), bid=100.0, bid_size=size, ask=100.5, ask_size=6.0 - size
        )
        record = NewRecord(key=b"X", value=encode(quote), headers=headers_of(index) if is_traced else ())
        world.broker.append(Partition("market", 0), [record])
        await world.settle()
        world.answer(0)
        await world.advance(TICK_NS)
    await world.advance(10 * TICK_NS)
    await world.stop()
    return world


def orders(world: World) -> list[tuple[Order | Cancel | Claim, Headers]]:
    return [(decode("orders", record.value), record.headers) for record in world.records("orders")]


async def test_an_order_has_the_trace_of_its_source_and_only_a_good_one() -> None:
    seen = set()
    for order, headers in orders(await traded(is_traced=True)):
        if isinstance(order, Order):
            index = order.source.offset
            seen.add(index % 3)
            expected = [headers_of(index)[1]] if index % 3 == 0 else []
            assert [header for header in headers if header[0] != "log"] == expected
    assert seen == {0, 1, 2}


async def test_the_log_is_the_same_with_and_without_and_derives_again() -> None:
    traced, plain = await traded(is_traced=True), await traded(is_traced=False)
    for topic in ("orders", "decisions", "checkpoints"):
        assert [r.value for r in traced.records(topic)] == [r.value for r in plain.records(topic)]
    market, decisions = traced.records("market"), traced.records("decisions")
    assert check_shard(market=market, orders=traced.records("orders"), decisions=decisions) == []
    steps = {s.step.n: s for r in decisions for s in getattr(decode("decisions", r.value), "steps", ())}
    result = rederive(new_shard(), [steps[n] for n in sorted(steps)], market, traced.records("reports"))
    assert result.mismatch is None
