"""An Execution agent in a process of its own that trades with a bundle, with Risk's pulse and a venue beside it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from messages import Bus
from tests.bench.execution.processes import Process, execution_agent, running
from tests.bench.execution.venue import fill_orders
from tests.bench.execution.world import Bundle, SwapWatch, World, keep_risk_alive, roll_out


@asynccontextmanager
async def surroundings(bus: Bus, *, fills: bool = True) -> AsyncIterator[None]:
    """Keep Risk alive, and fill orders, while the block runs."""
    producer = await bus.producer()
    tasks = [asyncio.create_task(keep_risk_alive(producer))]
    if fills:
        tasks.append(asyncio.create_task(fill_orders(bus)))
    try:
        yield
        assert not any(task.done() for task in tasks), "Risk's pulse or the venue has ended"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def live_agent(
    world: World,
    bus: Bus,
    bundle: Bundle,
    *,
    fills: bool = True,
    cores: Sequence[int] | None = None,
    expects: dict[str, int] | None = None,
) -> AsyncIterator[Process]:
    """Roll the bundle out, start the agent and yield it when it trades with it; `expects` as in `roll_out`."""
    await roll_out(world, await bus.producer(), bundle, {} if expects is None else expects)
    async with surroundings(bus, fills=fills):
        with running(execution_agent(world.settings_file), log=world.home / "agent.log", cores=cores) as process:
            await SwapWatch(bus).until(bundle, len(world.instruments))
            yield process
            process.sample()  # it is still there
