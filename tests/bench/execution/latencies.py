"""How long one step takes inside a live agent: one tick after the other, paced, and while bundles are swapped.

The agent runs in this process on the bus in memory, so that no broker is in the figures; staging verifies in the
verifier's process and loads in this one, as it does in production. A step: from the record to its decision logged and
its orders encoded and queued.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import perf_counter

from msgspec import Struct

from agents.assembly import build_agent
from agents.execution.rehearsal import KEEP_WARM_SECONDS
from agents.lifecycle.garbage import calm_garbage_collector
from agents.settings import read_settings
from messages import Bus, LoggedStep, NewRecord, SystemClock, encode
from tests.bench.execution.live import surroundings
from tests.bench.execution.networks import Network
from tests.bench.execution.throughput import HOLDS
from tests.bench.execution.world import Bundle, SwapWatch, World, new_world, quotes, roll_out

WARM_UP, HOT, PACED, PACE_HZ = 1_000, 20_000, 1_500, 100
SWAPS, SWAPPING_HZ = 40, 1_000


class Latencies(Struct, frozen=True, kw_only=True):
    """Microseconds of the steps in which the policy was asked; `warming` is the share of a core that keeping warm took
    while ticks were paced.
    """

    hot: list[float]
    paced: list[float]
    swapping: list[float]
    warming: float


class _Ear:
    """Hears of steps."""

    def __init__(self) -> None:
        self.took_us: list[float] = []
        self._heard = asyncio.Event()

    def on_step(self, logged: LoggedStep, _partition: int, took_ns: int) -> None:
        if not logged.decisions:
            return
        if len(logged.decisions) == 1 and logged.decisions[0].action is not None:
            self.took_us.append(took_ns / 1e3)
        self._heard.set()

    def take(self) -> list[float]:
        taken, self.took_us = self.took_us, []
        return taken

    async def after(self, sent: Awaitable[object]) -> None:
        """Send, and wait for the step."""
        self._heard.clear()
        await sent
        await self._heard.wait()


async def measure(
    home: Path, *, busy_poll: bool = False, calm: Callable[[], None] = calm_garbage_collector
) -> Latencies:
    """Measure all three, one after the other, in one agent; `calm` is called when it is warm, as processes do."""
    world, ear = await new_world("memory://", home, busy_poll=busy_poll), _Ear()
    bus = world.connect()
    first = world.new_bundle(sequence=1, module=Network(doubt=HOLDS))
    expects = dict[str, int]()
    await roll_out(world, await bus.producer(), first, expects)
    agent = build_agent(
        "execution",
        read_settings(world.settings_file, {}),
        bus=world.connect(),
        clock=SystemClock(),
        on_step=ear.on_step,
    )
    await agent.start()
    running = asyncio.create_task(agent.run())
    try:
        async with surroundings(bus):
            await SwapWatch(bus).until(first, 1)
            calm()
            send = await _sender(world, bus)
            for _ in range(WARM_UP):
                await ear.after(send())
            ear.take()
            for _ in range(HOT):
                await ear.after(send())
            hot = ear.take()
            spent_s, began = KEEP_WARM_SECONDS._value.get(), perf_counter()
            await _pace(send, PACE_HZ, PACED)
            paced, warming = ear.take(), (KEEP_WARM_SECONDS._value.get() - spent_s) / (perf_counter() - began)
            swapping = asyncio.create_task(_swap(world, bus, world.again(first, range(2, SWAPS + 2)), expects))
            while not swapping.done():
                await _pace(send, SWAPPING_HZ, SWAPPING_HZ // 10)
            await swapping
            return Latencies(hot=hot, paced=paced, swapping=ear.take(), warming=warming)
    finally:
        await agent.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.stop()


async def _sender(world: World, bus: Bus) -> Callable[[], Awaitable[object]]:
    """Return what publishes the next tick."""
    producer, records = await bus.producer(), _records(world)
    return lambda: producer.publish("market", next(records))


def _records(world: World) -> Iterator[NewRecord]:
    for message in quotes(world, 200_000):
        yield NewRecord(key=message.instrument.encode(), value=encode(message))


async def _pace(send: Callable[[], Awaitable[object]], hertz: int, count: int) -> None:
    began = perf_counter()
    for turn in range(count):
        await asyncio.sleep(max(0.0, began + turn / hertz - perf_counter()))
        await send()


async def _swap(world: World, bus: Bus, bundles: list[Bundle], expects: dict[str, int]) -> None:
    producer, watch = await bus.producer(), SwapWatch(bus)
    for bundle in bundles:
        await roll_out(world, producer, bundle, expects)
        await watch.until(bundle, 1)
