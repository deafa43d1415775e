"""What memory an Execution agent gains while it decides a million ticks and swaps bundles five hundred times."""

from pathlib import Path

from msgspec import Struct

from messages import Bus
from tests.bench.execution.decided import until_decided
from tests.bench.execution.live import live_agent
from tests.bench.execution.networks import Network
from tests.bench.execution.throughput import DISTINCT, TRADES
from tests.bench.execution.world import Bundle, SwapWatch, World, later, new_world, preload, quotes, roll_out

_SHARES = 10


class Growth(Struct, frozen=True, kw_only=True):
    """Resident memory in 1e6 bytes after the warm-up and at the end, and all that was seen between."""

    first_mb: float
    last_mb: float
    path: list[float]
    ticks: int
    swaps: int


async def measure(url: str, home: Path, *, ticks: int, swaps: int) -> Growth:
    """Feed ticks in tenths and swap a tenth of the bundles meanwhile, each another one, one after the other.

    The first tenth is the warm-up: memory counts from its end.
    """
    world = await new_world(url, home, instruments=4)
    first = world.new_bundle(sequence=1, module=Network(doubt=TRADES))
    share, rounds = swaps // _SHARES, ticks // _SHARES // DISTINCT
    bundles = world.again(first, range(2, 2 + share * (_SHARES + 1)))
    bus, expects, path = world.connect(), dict[str, int](), list[float]()
    try:
        async with live_agent(world, bus, first, expects=expects) as process:
            messages, swapping, sent = quotes(world, DISTINCT), _Swapping(world, bus, expects), 0
            for tenth in range(_SHARES + 1):
                sent += await preload(world, later(messages, range(tenth * rounds, (tenth + 1) * rounds)))
                await swapping.to_all(bundles[tenth * share : (tenth + 1) * share])
                await until_decided(bus, sent, process.sample)
                path.append(process.resident_mb())
    finally:
        await bus.stop()
    return Growth(
        first_mb=path[0], last_mb=path[-1], path=path, ticks=rounds * _SHARES * DISTINCT, swaps=share * _SHARES
    )


class _Swapping:
    def __init__(self, world: World, bus: Bus, expects: dict[str, int]) -> None:
        self._world, self._bus, self._expects, self._watch = world, bus, expects, SwapWatch(bus)

    async def to_all(self, bundles: list[Bundle]) -> None:
        """Swap to one after the other."""
        producer = await self._bus.producer()
        try:
            for bundle in bundles:
                await roll_out(self._world, producer, bundle, self._expects)
                await self._watch.until(bundle, len(self._world.instruments))
        finally:
            await producer.stop()
