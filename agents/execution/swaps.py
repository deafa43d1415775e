"""Around a swap: the bundles that a shard needs before it goes live, and what is told after."""

from collections.abc import Awaitable, Callable

from agents.execution.shard import Shard
from messages import Clock, Swapped
from messages.decisions import BundleActivated, BundleUnavailable

RETRY_S = 0.5


async def load_bundles(
    shard: Shard, is_staged: Callable[[str], Awaitable[bool]], clock: Clock
) -> tuple[BundleUnavailable, ...]:
    """Wait until what trades is loaded; return, as inputs, what could not be of the bundles before and the shadows.

    A shard that lacks a bundle would decide otherwise than replay. So there is no trading without the active ones, for
    however long; the others are given up, in the log.
    """
    lost: dict[str, BundleUnavailable] = {}
    for desk in shard.desks.values():
        while desk.active is not None and not await is_staged(desk.active.sha256):
            await clock.sleep(RETRY_S)
        for spare in (desk.previous, desk.shadow):
            if spare is not None and spare.sha256 not in lost and not await is_staged(spare.sha256):
                lost[spare.sha256] = BundleUnavailable(sha256=spare.sha256)
    return tuple(lost.values())


def swapped(agent_id: str, shard: Shard, applied: BundleActivated, now_ns: int, swap_us: float) -> Swapped:
    """Return what a replica says of an activation that was the last step's input."""
    return Swapped(
        agent_id=agent_id,
        partition=shard.partition,
        strategy=applied.strategy,
        instrument=applied.instrument,
        bundle_id=applied.bundle_id,
        sha256=applied.sha256,
        n=shard.n - 1,
        market_from=shard.market_to,
        ts=now_ns,
        swap_us=swap_us,
    )
