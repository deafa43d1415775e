"""What Execution trades, and the shard that belongs to a partition."""

from collections.abc import Mapping

from msgspec import Struct

from agents.execution.config import ExecutionConfig
from agents.execution.shard import Shard
from agents.execution.shard.step import ServingBundle, ShardConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from bundles.features import UserFeature
from bundles.signing import TrustStore
from messages.bus.partitioner import partition_of


class Scope(Struct, frozen=True, kw_only=True):
    """What Execution trades: reference data, the strategy of each instrument, limits, and whom it trusts.

    `user_features` are the user's own features that bundles may use.
    """

    instruments: Mapping[str, Instrument]
    strategies: Mapping[str, str]
    limits: Limits
    trust: TrustStore | None
    allow_unsigned: bool = False
    user_features: Mapping[str, UserFeature] = {}


def shard_of(
    scope: Scope, number: int, partitions: int, config: ExecutionConfig, bundles: Mapping[str, ServingBundle]
) -> Shard:
    """Return a fresh shard for a partition, with the instruments whose keys belong there."""
    mine = {n: i for n, i in scope.instruments.items() if partition_of(n.encode(), partitions) == number}
    shard_config = ShardConfig(
        partition=number, instruments=mine, strategies=scope.strategies, decisions=config.decisions
    )
    return Shard(shard_config, limits=scope.limits, bundles=bundles, partitions=partitions)
