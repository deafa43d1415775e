"""A shard's checkpoint: its state now, with the digest that recovery will ask for."""

from agents.execution.shard.shard import Shard
from agents.execution.shard.state import state_digest
from messages import Checkpoint


def checkpoint_of(shard: Shard, *, orders_to: int = 0, decisions_to: int = 0) -> Checkpoint:
    """Return the checkpoint of a shard as it is; the tails of `orders` and `decisions` are to be read from there on."""
    state = shard.snapshot()
    return Checkpoint(
        partition=shard.partition,
        epoch=shard.epoch,
        n=shard.n,
        clock_ns=shard.clock_ns,
        market_to=shard.market_to,
        ring_from=shard.ring_from,
        reports_to=shard.reports_to,
        orders_to=orders_to,
        decisions_to=decisions_to,
        state=state,
        digest=state_digest(state),
    )
