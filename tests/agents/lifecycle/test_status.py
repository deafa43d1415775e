"""Heartbeats say how the agent's bus clients and its loop are."""

import asyncio

from agents.lifecycle.status import beat
from messages import TOPICS, Bus, ClientState, Clock, Heartbeat, Partition, SystemClock, VirtualClock, decode
from messages.bus.memory.broker import MemoryBroker

WELL = ClientState(name="orders-1", kind="consumer", handled=5)
STALLED = ClientState(name="producer", kind="producer", state="stalled", reason="1 sends are not acknowledged")
REBUILT = ClientState(name="market", kind="consumer", rebuilds=2)


async def first_beats(clock: Clock, count: int) -> list[Heartbeat]:
    broker = MemoryBroker(clock=clock)
    bus: Bus = broker.connect()
    await bus.create_topics(TOPICS.values(), shards=1)
    bus.health = lambda: (WELL, STALLED, REBUILT)  # type: ignore[method-assign]
    alive = Heartbeat(agent_id="risk-1", agent="risk", ts=1, state="live")
    beating = asyncio.create_task(beat(bus, await bus.producer(), clock, lambda: alive, 50))
    records = broker.log(Partition("status", 0)).records
    async with asyncio.timeout(10):
        while len(records) < count:
            if isinstance(clock, VirtualClock):
                clock.set(clock.now_ns() + 50_000_000)
                await broker.settle()
            await asyncio.sleep(0)
    beating.cancel()
    return [decode("status", record.value) for record in records[:count]]


async def test_clients_that_are_stalled_or_were_rebuilt_are_told() -> None:
    (message,) = await first_beats(SystemClock(), 1)
    assert message.clients == (STALLED, REBUILT)


async def test_how_late_the_loop_was_is_told_from_the_second_heartbeat_on() -> None:
    first, second = await first_beats(SystemClock(), 2)
    assert first.loop_late_ms is None
    assert second.loop_late_ms is not None
    assert second.loop_late_ms >= 0


async def test_on_a_virtual_clock_heartbeats_hold_nothing_that_a_second_run_would_not() -> None:
    beats = await first_beats(VirtualClock(), 3)
    assert [message.loop_late_ms for message in beats] == [None] * 3
