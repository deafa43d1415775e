"""The desk: one instrument's part of a shard, and what moves it."""

from collections import deque

from msgspec import Struct

from agents.execution.shard.account import Account
from agents.risk.instruments import Instrument
from agents.risk.kill_switch import TradingState
from bundles.features import RING_TICKS, TickRing
from messages import Bar, Decision, DenialCode, Observation, Quote, Trade
from messages.control_fold import ActiveBundle
from messages.decisions import BundleActivated

Tick = Quote | Trade | Bar | Observation


class Desk(Struct, kw_only=True):
    """One instrument's part of a shard: its ring of ticks, its market and its bundle. Times on the step clock, ns.

    `offsets` are those of the ring's ticks on `market`. `state` and `is_flattening` are what `control` and Risk allow.
    The offsets of `active` and `shadow` are those of the newest records of `control` that were applied to them.
    `has_failed`: the policy failed and there is no bundle before it, so that the desk is brought to zero until another
    is activated or a person releases it. `is_disputed`: a report could not be booked, so only exits go out until a
    person has looked. `target_lots`: the position that was wanted last. `source` and
    `orders_of_source` number the orders decided on one record.
    """

    instrument: Instrument
    strategy: str
    ring: TickRing
    offsets: deque[int]
    account: Account
    bid_ticks: int | None = None
    ask_ticks: int | None = None
    reference_ns: int = 0
    state: TradingState = TradingState.REDUCING
    active: ActiveBundle | None = None
    previous: ActiveBundle | None = None
    shadow: ActiveBundle | None = None
    override_lots: int | None = None
    target_lots: int | None = None
    is_flattening: bool = False
    quotes_waited: int = 0
    shadow_waited: int = 0
    policy_errors: int = 0
    has_failed: bool = False
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
    return Desk(
        instrument=instrument,
        strategy=strategy,
        ring=TickRing(),
        offsets=deque(maxlen=RING_TICKS),
        account=Account(),
    )


def next_index(desk: Desk, offset: int) -> int:
    """Return how many orders were decided on this market record before the next one, which counts from now on."""
    if desk.source != offset:
        desk.source, desk.orders_of_source = offset, 0
    index = desk.orders_of_source
    desk.orders_of_source = index + 1
    return index


def take_in(desk: Desk, message: Tick, offset: int, now_ns: int) -> None:
    """Show the desk a market record: its ring, its touch, and how long the policy has not been asked."""
    if isinstance(message, Quote):
        desk.offsets.append(offset)
        desk.ring.push_quote(message.ts_recv, message.bid, message.bid_size, message.ask, message.ask_size)
        if not 0 < message.bid <= message.ask:
            return
        ticks = desk.instrument.ticks
        desk.bid_ticks, desk.ask_ticks, desk.reference_ns = ticks(message.bid), ticks(message.ask), now_ns
    elif isinstance(message, Trade):
        desk.offsets.append(offset)
        desk.ring.push(message)
        return
    elif isinstance(message, Bar):
        desk.offsets.append(offset)
        desk.ring.push(message)
        desk.bid_ticks = desk.ask_ticks = desk.instrument.ticks(message.close)
        desk.reference_ns = now_ns
    desk.quotes_waited += 1
    desk.shadow_waited += 1


def activate(desk: Desk, activated: BundleActivated) -> None:
    """Trade with another bundle from now on; one that `control` named before the present one changes nothing."""
    if desk.active is None or desk.active.offset < activated.offset:
        if desk.active is None or desk.active.sha256 != activated.sha256:
            desk.previous = desk.active
        desk.policy_errors, desk.has_failed = 0, False
        desk.active = ActiveBundle(bundle_id=activated.bundle_id, sha256=activated.sha256, offset=activated.offset)


def count(desk: Desk, decision: Decision, max_policy_errors: int) -> str | None:
    """Count policy errors; too many in a row bring the previous bundle back, or none: then the desk goes flat.

    Returns the id of a bundle that was given up now, or None.
    """
    if decision.target is not None:
        desk.target_lots = decision.target
    if decision.shadow is not None and decision.shadow.action is not None:
        desk.shadow_waited = 0
    if decision.denial is None or decision.denial.code is not DenialCode.POLICY_ERROR:
        if decision.action is not None:
            desk.policy_errors = desk.quotes_waited = 0
        return None
    if desk.has_failed or desk.active is None:
        return None
    desk.policy_errors += 1
    if desk.policy_errors < max_policy_errors:
        return None
    failed, back = desk.active, desk.previous
    desk.policy_errors = 0
    if back is None:
        desk.has_failed = True
    else:  # as of the record that activated what failed: it must not be activated by that record once more
        desk.active, desk.previous = (
            ActiveBundle(bundle_id=back.bundle_id, sha256=back.sha256, offset=failed.offset),
            None,
        )
    return failed.bundle_id
