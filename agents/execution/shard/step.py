"""The nouns of a step: the serving bundle, and what a shard is made with."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from agents.execution.shard.config import DecisionConfig
from agents.risk.instruments import Instrument
from bundles.actions import ActionMapping
from bundles.features import Floats32, Observer
from messages import Step
from messages.decisions import MarketGap


class Policy(Protocol):
    """What a decision needs of a policy runtime (bundles.runtimes.PolicyRuntime is one)."""

    def act(self, observation: Floats32) -> tuple[float, ...]:
        """Return the greedy action for one observation, float32 [n]. Raises Refused when there is none."""
        ...

    def act_batch(self, observations: Floats32) -> Sequence[tuple[float, ...]]:
        """Return the greedy action for each row of float32 [B, n]. Raises Refused when there is none."""
        ...


class ServingBundle(Struct, frozen=True, kw_only=True):
    """A verified, loaded and warm bundle. `observer` is None when it takes Observation messages as they come.

    `is_batched`: instruments that are due together are asked in one forward.
    """

    strategy: str
    bundle_id: str
    sha256: str
    policy: Policy
    observer: Observer | None
    actions: ActionMapping
    limits: dict[str, float] = {}
    is_batched: bool = True


class ShardConfig(Struct, frozen=True, kw_only=True):
    """What a shard is made with: its partition, the instruments that belong to it, and how decisions are made.

    `strategies` names, for each instrument, the one strategy that trades it.
    """

    partition: int
    instruments: Mapping[str, Instrument]
    strategies: Mapping[str, str]
    decisions: DecisionConfig


def decided_offsets(step: Step) -> range:
    """Return the market offsets that the step decides: its range without the lost ones at its beginning."""
    gap_to = max((g.market_to for g in step.inputs if isinstance(g, MarketGap)), default=step.market_from)
    return range(gap_to, step.market_to)
