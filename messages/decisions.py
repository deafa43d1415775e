"""Topic `decisions`: every step of a shard, enough to derive its orders again. Partition = the shard's."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from messages.control import ControlMessage
from messages.fields import Digest, Integer, Name, Nanoseconds, Offset, PartitionIndex, Sequence
from messages.orders import Cancel, Claim, Order

MAX_STEP_RECORDS = 64
InLimitsUnit = Annotated[float, Meta(description="in the unit of the limit")]
Action = Annotated[float, Meta(description="as the policy answers, in the units of its action space")]

Lots = Annotated[Integer, Meta(description="lots, negative: short")]


class OutcomeCode(StrEnum):
    """What became of one market record: the closed list."""

    ORDER = "order"
    HOLD = "hold"
    DEAD_BAND = "dead-band"
    CONFLATED = "conflated"
    STALE = "stale"
    DENIED = "denied"
    OVERRIDE = "override"
    SHADOW = "shadow"
    WARMING_UP = "warming-up"
    NO_BUNDLE = "no-bundle"
    REFUSED = "refused"


class DenialCode(StrEnum):
    """Why the gate or the fallback let an order not pass: the closed list."""

    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    NO_REFERENCE = "NO_REFERENCE"
    STALE_REFERENCE = "STALE_REFERENCE"
    NOT_FINITE = "NOT_FINITE"
    PRICE_STEP = "PRICE_STEP"
    QUANTITY_STEP = "QUANTITY_STEP"
    MIN_ORDER_QUANTITY = "MIN_ORDER_QUANTITY"
    MIN_ORDER_VALUE = "MIN_ORDER_VALUE"
    PRICE_COLLAR = "PRICE_COLLAR"
    PRICE_COLLAR_PERIOD = "PRICE_COLLAR_PERIOD"
    MAX_ORDER_QUANTITY = "MAX_ORDER_QUANTITY"
    MAX_ORDER_VALUE = "MAX_ORDER_VALUE"
    MAX_POSITION = "MAX_POSITION"
    MAX_GROSS_EXPOSURE = "MAX_GROSS_EXPOSURE"
    MAX_NET_EXPOSURE = "MAX_NET_EXPOSURE"
    MAX_OPEN_ORDERS = "MAX_OPEN_ORDERS"
    MESSAGE_RATE = "MESSAGE_RATE"
    DUPLICATE = "DUPLICATE"
    REPEATED_EXECUTION = "REPEATED_EXECUTION"
    BUNDLE_LIMIT = "BUNDLE_LIMIT"
    AWAITING_REPORT = "AWAITING_REPORT"
    REPORT_DISPUTED = "REPORT_DISPUTED"
    POLICY_ERROR = "POLICY_ERROR"
    REDUCE_ONLY = "REDUCE_ONLY"
    RISK_AWAY = "RISK_AWAY"
    BAD_INPUT = "BAD_INPUT"
    HALTED = "HALTED"


class Denial(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refused order: the code, and the limit and the value that would have resulted, in the limit's unit.

    `is_share`: the limit is the shard's share of the portfolio's.
    """

    code: DenialCode
    limit: InLimitsUnit | None = None
    resulting: InLimitsUnit | None = None
    is_share: bool = False

    def __str__(self) -> str:
        """Return e.g. `MAX_POSITION limit=0.5 resulting=0.6`."""
        facts = (("share" if self.is_share else "limit", self.limit), ("resulting", self.resulting))
        return " ".join([self.code.value, *(f"{name}={value:g}" for name, value in facts if value is not None)])


class ControlApplied(Struct, frozen=True, kw_only=True, tag=True):
    """Step input: a valid record of `control`, by value."""

    offset: Offset
    message: ControlMessage


class BundleActivated(Struct, frozen=True, kw_only=True, tag=True):
    """Step input: the staged bundle `sha256` trades `instrument` from this step on."""

    offset: Offset
    strategy: Name
    instrument: Name
    bundle_id: Name
    sha256: Digest


class BundleShadowed(Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Step input: the staged bundle `sha256` decides on `instrument` from this step on, and sends nothing.

    Without `bundle_id` and `sha256` the instrument's shadow ends.
    """

    offset: Offset
    strategy: Name
    instrument: Name
    bundle_id: Name | None = None
    sha256: Digest | None = None


class BundleUnavailable(Struct, frozen=True, kw_only=True, tag=True):
    """Step input: the bundle `sha256` could not be loaded here: no desk shadows it, or falls back to it, any more."""

    sha256: Digest


class RiskAlive(Struct, frozen=True, kw_only=True, tag=True):
    """Step input: Risk's heartbeat returned or was missed."""

    alive: bool


class MarketGap(Struct, frozen=True, kw_only=True, tag=True):
    """Step input: market offsets [market_from, market_to) are lost (retention) or hold no record; none is decided."""

    market_from: Offset
    market_to: Offset


class Timer(Struct, frozen=True, kw_only=True, tag=True):
    """Step input: nothing but time has passed."""


StepInput = ControlApplied | BundleActivated | BundleShadowed | BundleUnavailable | RiskAlive | MarketGap | Timer


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The one way into a shard: what it reads in one go, in the order inputs, reports, market.

    `n` is dense per shard; market records [market_from, market_to) of the shard's partition, at most 64, may be empty
    (a range that is lost stands among the inputs as MarketGap and is covered, not counted);
    `clock_ns` never goes back; `reports_to` is the offset up to which reports apply.
    """

    n: Sequence
    market_from: Offset
    market_to: Offset
    clock_ns: Nanoseconds
    reports_to: Offset
    inputs: tuple[StepInput, ...] = ()


class ShadowDecision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the shadow bundle answered where it was due, and the position it would want from where the desk stands.

    `error`: why there is no answer: `warming-up`, or the code of what the policy raised.
    """

    bundle_id: Name
    action: tuple[Action, ...] | None = None
    target: Lots | None = None
    error: Name | None = None


class Decision(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome of one market record. `action` is what the policy answered, `target` the wanted position in lots.

    `shadow` is the answer of the bundle that decides beside it and sends nothing.
    """

    outcome: OutcomeCode
    denial: Denial | None = None
    action: tuple[Action, ...] | None = None
    target: Lots | None = None
    shadow: ShadowDecision | None = None


class LoggedStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step and all that came of it: one decision for each market record, and the orders and cancels it sent."""

    step: Step
    decisions: tuple[Decision, ...] = ()
    orders: tuple[Order | Cancel, ...] = ()


class DecisionBatch(Struct, frozen=True, kw_only=True, tag=True):
    """Consecutive steps of one shard. Written by execution on `decisions` and in the `log` header of `orders`;
    read by replay, audit, monitoring, execution.

    `epoch` is the writer's Claim; a batch under another epoch than the newest Claim's before it is void. Steps that
    were already seen (same `n`) may come again.
    """

    partition: PartitionIndex
    epoch: Offset
    logic_version: Annotated[Integer, Meta(description="LOGIC_VERSION of the writer")]
    steps: tuple[LoggedStep, ...]


DecisionMessage = DecisionBatch | Claim
