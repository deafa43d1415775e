"""The nouns of a step: the serving bundle, and the desk, one instrument's part of a shard."""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from agents.execution.config import DecisionConfig
from agents.risk.instruments import Instrument
from bundles.actions import ActionMapping
from bundles.features import RING_TICKS, Floats32, Observer, TickRing
from messages.control_fold import ActiveBundle


class Policy(Protocol):
    """What a decision needs of a policy runtime (bundles.runtimes.PolicyRuntime is one)."""

    def act(self, observation: Floats32) -> tuple[float, ...]:
        """Return the greedy action for one observation, float32 [n]. Raises Refused when there is none."""
        ...


class ServingBundle(Struct, frozen=True, kw_only=True):
    """A verified, loaded and warm bundle. `observer` is None when it takes Observation messages as they come."""

    strategy: str
    bundle_id: str
    sha256: str
    policy: Policy
    observer: Observer | None
    actions: ActionMapping
    limits: dict[str, float] = {}


class Desk(Struct, kw_only=True):
    """One instrument's part of a shard: its ring of ticks, its market and its bundle. Times on the step clock, ns.

    `offsets` are those of the ring's ticks on `market`. `is_disputed`: a report could not be booked, so only exits go
    out until a person has looked. `source` and `orders_of_source` number the orders decided on one record.
    """

    instrument: Instrument
    strategy: str
    ring: TickRing
    offsets: deque[int]
    bid_ticks: int | None = None
    ask_ticks: int | None = None
    reference_ns: int = 0
    active: ActiveBundle | None = None
    previous: ActiveBundle | None = None
    override_lots: int | None = None
    is_flattening: bool = False
    quotes_waited: int = 0
    policy_errors: int = 0
    is_disputed: bool = False
    held_since_ns: int = 0
    source: int = -1
    orders_of_source: int = 0

    @property
    def mark_ticks_doubled(self) -> int | None:
        """Twice the mid price in ticks: whole even when the spread is odd."""
        if self.bid_ticks is None or self.ask_ticks is None:
            return None
        return self.bid_ticks + self.ask_ticks


def new_desk(instrument: Instrument, strategy: str) -> Desk:
    """Return an empty desk for the one strategy that trades the instrument."""
    return Desk(instrument=instrument, strategy=strategy, ring=TickRing(), offsets=deque(maxlen=RING_TICKS))


class ShardConfig(Struct, frozen=True, kw_only=True):
    """What a shard is made with: its partition, the instruments that belong to it, and how decisions are made.

    `strategies` names, for each instrument, the one strategy that trades it.
    """

    partition: int
    instruments: Mapping[str, Instrument]
    strategies: Mapping[str, str]
    decisions: DecisionConfig
