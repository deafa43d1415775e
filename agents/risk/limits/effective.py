"""The limits that hold for each strategy in each instrument, for the portfolio and for each shard, as plain values."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, structs

from agents.risk.limits.in_force import LimitsInForce
from agents.risk.limits.shares import WHOLE
from messages.bus.partitioner import partition_of


class PairLimits(Struct, frozen=True, kw_only=True):
    """What one strategy may do in one instrument; `limits` by name, None: not limited."""

    strategy: str
    instrument: str
    shard: int
    limits: dict[str, Any]


class ShardShare(Struct, frozen=True, kw_only=True):
    """What one shard may use of the portfolio's exposure limits: fractions of them, and money."""

    shard: int
    instruments: tuple[str, ...]
    gross: float
    net: float
    max_gross_exposure: float
    max_net_exposure: float


class EffectiveLimits(Struct, frozen=True, kw_only=True):
    """All that holds. Exposure limits of a pair are never above the share of its shard."""

    pairs: tuple[PairLimits, ...]
    portfolio: dict[str, Any]
    shares: tuple[ShardShare, ...]


def effective_limits(in_force: LimitsInForce, strategies: Mapping[str, str]) -> EffectiveLimits:
    """Return what holds. `strategies`: the one that trades each instrument."""
    partitions = len(in_force.shares.gross)
    shard_of = {name: partition_of(name.encode(), partitions) for name in strategies}
    of_shard = {number: in_force.of_shard(number) for number in set(shard_of.values())}
    return EffectiveLimits(
        pairs=tuple(
            PairLimits(
                strategy=strategy,
                instrument=name,
                shard=shard_of[name],
                limits=structs.asdict(of_shard[shard_of[name]].for_pair(strategy, name)),
            )
            for strategy, name in sorted((strategy, name) for name, strategy in strategies.items())
        ),
        portfolio=structs.asdict(in_force.limits.portfolio),
        shares=tuple(
            ShardShare(
                shard=number,
                instruments=tuple(sorted(name for name, shard in shard_of.items() if shard == number)),
                gross=in_force.shares.gross[number] / WHOLE,
                net=in_force.shares.net[number] / WHOLE,
                max_gross_exposure=in_force.share(number).gross,
                max_net_exposure=in_force.share(number).net,
            )
            for number in range(partitions)
        ),
    )
