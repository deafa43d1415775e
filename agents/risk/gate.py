"""The pre-trade gate: every order passes it or carries a Denial. Pure, and what it can't judge it denies.

Order of the checks (the first that fails is the answer): known instrument; numbers, and quantity and price on the grid;
state; reference there, in order and fresh; report awaited; reducing only; minimum quantity, value; maximum quantity,
value; collar of the order; position, gross, net exposure; collar of the period; open orders; duplicate; repeated
execution; message rate; bundle limits (the same checks with the bundle's stricter numbers).

An order *only reduces* when it takes the position towards zero, never through it, even if every order on its own side
fills first. Such exits are exempt from minimums, exposures, the period's collar and the repeated-execution latch.
"""

from collections.abc import Mapping
from math import isfinite

from msgspec import Struct
from msgspec.structs import replace

from agents.risk.instruments import MAX_STEPS, NANO, Instrument
from agents.risk.kill_switch import TradingState
from agents.risk.lane import Lane
from agents.risk.limits.file import Limits
from agents.risk.order_rules import OrderRules, compile_rules, rules_under
from agents.risk.windows import Executions, Extremes, RateWindow, Stamped
from messages.decisions import Denial, DenialCode
from messages.fields import Side
from messages.orders import OrderType

_MILLI = 1_000_000
_BPS = 10_000
_MOST = 2**120  # more lots or money than any books hold: what is beyond is no figure
_LEAST = -_MOST
_ACTIVE, _REDUCING, _HALTED = TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED
_SIDES = frozenset({"buy", "sell"})


class Proposal(Struct, frozen=True, kw_only=True):
    """An order before it is one. `limit_ticks` is None for market orders."""

    instrument: str
    strategy: str
    side: Side
    lots: int
    order_type: OrderType = "market"
    limit_ticks: int | None = None
    reduce_only: bool = False


class View(Struct, frozen=True, kw_only=True):
    """What the shard knows when it proposes an order.

    `open_*_lots` count what is on its way, too. `reference_ts_ns`: step clock when the quote arrived.
    `other_*_nanos`: what the shard's other instruments are worth at their marks where what is open there fills for the
    worst: `gross` as a sum of absolute values, `long` and `short` as the highest and the lowest net sum.
    `awaiting_report`: an order of this instrument was not answered in time. `is_flattening`: a Flatten is on, so that
    reduce-only orders pass even when HALTED. `bundle_limits`: the active bundle's, the same mapping object each time.
    """

    position_lots: int
    state: TradingState
    bid_ticks: int | None
    ask_ticks: int | None
    reference_ts_ns: int | None
    open_buy_lots: int = 0
    open_sell_lots: int = 0
    open_orders: int = 0
    awaiting_report: bool = False
    is_flattening: bool = False
    other_gross_nanos: int = 0
    other_long_nanos: int = 0
    other_short_nanos: int = 0
    bundle_limits: Mapping[str, float] | None = None


Pair = tuple[str, str]


class GateState(Struct, frozen=True, kw_only=True):
    """The gate's windows: part of checkpoints. All times are of the step clock."""

    messages_ns: tuple[int, ...] = ()
    contents: tuple[tuple[tuple[str, str, str, int, int | None], int], ...] = ()
    executions: tuple[tuple[Pair, tuple[int, ...], bool], ...] = ()
    references: tuple[tuple[str, tuple[Stamped, ...], tuple[Stamped, ...]], ...] = ()


class Gate:
    """Checks proposals against limits; `record` tells it what was sent, so that its windows move."""

    def __init__(self, limits: Limits, instruments: Mapping[str, Instrument]) -> None:
        self._limits, self._instruments = limits, instruments
        self._rate = RateWindow()
        self._lanes: dict[Pair, Lane] = {}
        self._references: dict[str, Extremes] = {}

    def set_limits(self, limits: Limits) -> None:
        """Judge by other limits from now on; the windows stay."""
        self._limits = limits
        for (strategy, instrument), lane in self._lanes.items():
            lane.plain = lane.rules = compile_rules(
                limits.for_pair(strategy, instrument), self._instruments[instrument]
            )
            lane.bundle_limits = None

    def _lane(self, strategy: str, instrument: str) -> Lane | None:
        """Return the lane, made on first use; None for an unknown instrument."""
        lane = self._lanes.get((strategy, instrument))
        if lane is None and (reference := self._instruments.get(instrument)) is not None:
            plain = compile_rules(self._limits.for_pair(strategy, instrument), reference)
            lane = Lane(plain, self._references.setdefault(instrument, Extremes()))
            self._lanes[strategy, instrument] = lane
        return lane

    def _rules(
        self, lane: Lane, strategy: str, instrument: str, bundle_limits: Mapping[str, float] | None
    ) -> OrderRules | None:
        """Return the lane's rules under a bundle's limits: told apart by identity, so hand in the same mapping."""
        if bundle_limits is not lane.bundle_limits:
            lane.bundle_limits, lane.rules = bundle_limits, lane.plain
            if bundle_limits:
                limits = self._limits.for_pair(strategy, instrument)
                lane.rules = rules_under(bundle_limits, limits, self._instruments[instrument])
        return lane.rules

    def check(self, proposal: Proposal, view: View, now_ns: int) -> Denial | None:
        """Return why the order may not go, or None. Changes nothing. Budget: 3 us."""
        strategy, instrument, bundle_limits = proposal.strategy, proposal.instrument, view.bundle_limits
        lane = self._lanes.get((strategy, instrument))
        if lane is None and (lane := self._lane(strategy, instrument)) is None:
            return Denial(code=DenialCode.UNKNOWN_INSTRUMENT)
        rules = lane.rules
        if bundle_limits is not lane.bundle_limits:
            rules = self._rules(lane, strategy, instrument, bundle_limits)
        denial = None if rules is None else self._judge(rules, lane, proposal, view, now_ns)
        if rules is not None and (denial is None or not bundle_limits):
            return denial
        return self._name_whose(denial, lane, proposal, view, now_ns)

    def cut(self, proposal: Proposal, ticks: int | None, bundle_limits: Mapping[str, float] | None) -> Proposal:
        """Return the order made as small as one order has to be at a price: a way out that is larger takes several."""
        lane = self._lane(proposal.strategy, proposal.instrument)
        if lane is None or not ticks:
            return proposal
        rules = self._rules(lane, proposal.strategy, proposal.instrument, bundle_limits) or lane.plain
        most = rules.max_value // (ticks * rules.nanos_per_tick_lot)
        if rules.max_lots is not None:
            most = min(most, rules.max_lots)
        return proposal if not 0 < most < proposal.lots else replace(proposal, lots=most)

    def _name_whose(
        self, denial: Denial | None, lane: Lane, proposal: Proposal, view: View, now_ns: int
    ) -> Denial | None:
        """Return the denial by the file's own limits, or, where they would let it pass, that by the bundle's.

        Without `denial` the bundle's limits can't be understood: then only exits pass.
        """
        by_file = self._judge(lane.plain, lane, proposal, view, now_ns)
        if by_file is not None:
            return by_file
        if denial is not None:
            return Denial(code=DenialCode.BUNDLE_LIMIT, limit=denial.limit, resulting=denial.resulting)
        is_exit = self._judge(lane.plain, lane, replace(proposal, reduce_only=True), view, now_ns) is None
        return None if is_exit else Denial(code=DenialCode.BUNDLE_LIMIT)

    def _judge(self, rules: OrderRules, lane: Lane, proposal: Proposal, view: View, now_ns: int) -> Denial | None:
        denial = _check_numbers(proposal, view)
        if denial is not None:
            return denial
        state, bid, ask, ts_ns = view.state, view.bid_ticks, view.ask_ticks, view.reference_ts_ns
        if state is not _ACTIVE and state is not _REDUCING and not _may_flatten(proposal, view):
            return Denial(code=DenialCode.HALTED)
        if bid is None or ask is None or ts_ns is None or not 0 < bid <= ask <= MAX_STEPS:
            return Denial(code=DenialCode.NO_REFERENCE)
        if not 0 <= now_ns - ts_ns <= rules.max_age_ns:
            return _denial(DenialCode.STALE_REFERENCE, rules.limits.max_reference_age_ms, (now_ns - ts_ns) / _MILLI)
        # Everything in the order's direction: a sell that reduces looks as a buy does, from below towards zero.
        if proposal.side == "buy":
            held, ahead, against = view.position_lots, view.open_buy_lots, view.open_sell_lots
        else:
            held, ahead, against = -view.position_lots, view.open_sell_lots, view.open_buy_lots
        furthest = held + ahead + proposal.lots
        exits = held < 0 and furthest <= 0
        if state is not _ACTIVE or proposal.reduce_only or view.awaiting_report:
            denial = _check_reducing(rules, proposal, view, exits)
        return (
            denial
            or _check_order(rules, proposal, exits, bid, ask)
            or (None if exits else _check_exposure(rules, proposal, view, furthest, against - held, ask))
            or self._check_windows(rules, lane, proposal, view, exits, bid + ask, now_ns)
        )

    def _check_windows(
        self, rules: OrderRules, lane: Lane, proposal: Proposal, view: View, exits: bool, twice_mid: int, now_ns: int
    ) -> Denial | None:
        limits = rules.limits
        if not exits and (moved_bps := _moved_bps(rules, lane.references, twice_mid, now_ns)) is not None:
            return _denial(DenialCode.PRICE_COLLAR_PERIOD, limits.price_collar_period_bps, moved_bps)
        if view.open_orders >= limits.max_open_orders:
            return _denial(DenialCode.MAX_OPEN_ORDERS, limits.max_open_orders, view.open_orders + 1)
        last_ns = lane.contents.get((proposal.side, proposal.lots, proposal.limit_ticks))
        if last_ns is not None and now_ns - last_ns < rules.duplicate_ns:
            return _denial(DenialCode.DUPLICATE, limits.duplicate_window_ms, (now_ns - last_ns) / _MILLI)
        if lane.executions.is_latched and not exits:
            return _denial(DenialCode.REPEATED_EXECUTION, limits.max_repeated_executions, None)
        most = limits.max_messages_per_s
        if len(self._rate.times_ns) >= most and not self._rate.has_room(most, now_ns):  # nearly always few
            return _denial(DenialCode.MESSAGE_RATE, most, most + 1)
        return None

    def record(self, proposal: Proposal, twice_mid: int | None, now_ns: int) -> bool:
        """Move the windows: an order was sent while the bid and the ask, in ticks, added up to `twice_mid`.

        True: it is the one that closes the repeated-execution throttle of its strategy in its instrument.
        """
        self._rate.add(now_ns)
        lane = self._lane(proposal.strategy, proposal.instrument)
        if lane is None:
            return False
        rules, contents = lane.plain, lane.contents
        content = proposal.side, proposal.lots, proposal.limit_ticks
        contents.pop(content, None)  # so that it comes to stand last
        contents[content] = now_ns
        until_ns = now_ns - rules.duplicate_ns
        while contents[oldest := next(iter(contents))] <= until_ns and len(contents) > 1:
            del contents[oldest]
        if twice_mid is not None:
            lane.references.add(twice_mid, rules.collar_period_ns, now_ns)
        return lane.executions.add(rules.limits.max_repeated_executions, rules.repeated_ns, now_ns)

    def record_cancel(self, now_ns: int) -> None:
        """Count a cancel as a message; cancels are never blocked."""
        self._rate.add(now_ns)

    def is_latched(self, strategy: str, instrument: str) -> bool:
        """Whether the repeated-execution throttle has closed: it bars entries until a person calls for `release`."""
        lane = self._lanes.get((strategy, instrument))
        return lane is not None and lane.executions.is_latched

    def release(self, strategy: str, instrument: str) -> None:
        """Open the repeated-execution throttle and count anew: a person has looked, or a Halt stands in its place."""
        lane = self._lanes.get((strategy, instrument))
        if lane is not None:
            lane.executions = Executions()

    def snapshot(self) -> GateState:
        """Return the windows, equal for equal histories."""
        lanes = sorted((pair, lane) for pair, lane in self._lanes.items() if lane.contents)
        mids = sorted((name, mids) for name, mids in self._references.items() if mids.lows)
        return GateState(
            messages_ns=self._rate.snapshot(),
            contents=tuple(
                ((*pair, *content), ts_ns) for pair, lane in lanes for content, ts_ns in lane.contents.items()
            ),
            executions=tuple((pair, lane.executions.snapshot(), lane.executions.is_latched) for pair, lane in lanes),
            references=tuple((name, tuple(of.highs), tuple(of.lows)) for name, of in mids),
        )

    @classmethod
    def restore(cls, state: GateState, limits: Limits, instruments: Mapping[str, Instrument]) -> "Gate":
        """Return a gate with those windows; those of an instrument that is known no more go."""
        gate = cls(limits, instruments)
        gate._rate = RateWindow(state.messages_ns)
        gate._references = {name: Extremes(highs, lows) for name, highs, lows in state.references}
        for pair, times_ns, is_latched in state.executions:
            if (lane := gate._lane(*pair)) is not None:
                lane.executions = Executions(times_ns, is_latched=is_latched)
        for (strategy, instrument, side, lots, limit_ticks), ts_ns in state.contents:
            if (lane := gate._lane(strategy, instrument)) is not None:
                lane.contents[side, lots, limit_ticks] = ts_ns
        return gate


def _moved_bps(rules: OrderRules, references: Extremes, twice_mid: int, now_ns: int) -> float | None:
    """Return by how much the mid price has left the collar of the period; None: it is inside."""
    since_ns = now_ns - rules.collar_period_ns
    # The bounds at hand are young enough nearly always.
    known = references.bounds if since_ns < references.until_ns else references.since(since_ns)
    if known is None:
        return None
    low, high = known
    part, whole = rules.collar_period
    # Each as the part of the reference that it is: up from the lowest, down from the highest.
    if (twice_mid - low) * whole > low * part:
        return (twice_mid - low) * _BPS / low
    if (high - twice_mid) * whole > high * part:
        return (high - twice_mid) * _BPS / high
    return None


def _check_numbers(proposal: Proposal, view: View) -> Denial | None:
    lots, limit_ticks, side = proposal.lots, proposal.limit_ticks, proposal.side
    if lots.__class__ is not int or not 0 < lots <= MAX_STEPS or side not in _SIDES:
        return _malformed(proposal)
    if proposal.order_type == "market":
        if limit_ticks is not None:
            return _malformed(proposal)
    elif proposal.order_type != "limit" or limit_ticks.__class__ is not int or not 0 < limit_ticks <= MAX_STEPS:
        return _malformed(proposal)
    position, long, short = view.position_lots, view.other_long_nanos, view.other_short_nanos
    try:
        opened = view.open_buy_lots | view.open_sell_lots | view.open_orders | view.other_gross_nanos
        if 0 <= opened <= _MOST and _LEAST <= position <= _MOST and _LEAST <= short <= long <= _MOST:
            return None
    except TypeError:  # what is no whole number can't be joined, what is none at all not compared
        pass
    return Denial(code=DenialCode.NOT_FINITE)


def _malformed(proposal: Proposal) -> Denial:
    lots, limit_ticks = proposal.lots, proposal.limit_ticks
    if any(isinstance(number, float) and not isfinite(number) for number in (lots, limit_ticks)):
        return Denial(code=DenialCode.NOT_FINITE)
    if lots.__class__ is not int or not 0 < lots <= MAX_STEPS or proposal.side not in _SIDES:
        return _off_grid(DenialCode.QUANTITY_STEP, lots)
    return _off_grid(DenialCode.PRICE_STEP, limit_ticks if proposal.order_type == "limit" else None)


def _off_grid(code: DenialCode, steps: float | None) -> Denial:
    if steps is None or not -MAX_STEPS <= steps <= MAX_STEPS:
        return Denial(code=code)
    return _denial(code, 1, steps)


def _may_flatten(proposal: Proposal, view: View) -> bool:
    return view.state is _HALTED and view.is_flattening and proposal.reduce_only


def _check_reducing(rules: OrderRules, proposal: Proposal, view: View, exits: bool) -> Denial | None:
    if view.awaiting_report and not exits:
        return Denial(code=DenialCode.AWAITING_REPORT)
    is_active = view.state is _ACTIVE
    if is_active and (exits or not proposal.reduce_only):
        return None
    position, lots = view.position_lots, proposal.lots
    filled = position + view.open_buy_lots - view.open_sell_lots + (lots if proposal.side == "buy" else -lots)
    # Opposite orders in flight could still make the position larger: they have to be cancelled first.
    if not exits or (not is_active and abs(filled) > abs(position)):
        return _denial(DenialCode.REDUCE_ONLY, rules.quantity(abs(position)), rules.quantity(filled))
    return None


def _check_order(rules: OrderRules, proposal: Proposal, exits: bool, bid: int, ask: int) -> Denial | None:
    is_buy = proposal.side == "buy"
    lots, limit_ticks = proposal.lots, proposal.limit_ticks
    if limit_ticks is None:
        asked = price = ask if is_buy else bid
    else:  # a sell limit below the bid trades at the bid: that is its value
        asked, price = limit_ticks, limit_ticks if is_buy or limit_ticks > bid else bid
    value = lots * price * rules.nanos_per_tick_lot
    if not exits:
        if lots < rules.min_lots:
            return _denial(DenialCode.MIN_ORDER_QUANTITY, rules.limits.min_order_quantity, rules.quantity(lots))
        if value < rules.min_value:
            return _denial(DenialCode.MIN_ORDER_VALUE, rules.limits.min_order_value, value / NANO)
    max_lots = rules.max_lots
    if max_lots is not None and lots > max_lots:
        return _denial(DenialCode.MAX_ORDER_QUANTITY, rules.limits.max_order_quantity, rules.quantity(lots))
    if value > rules.max_value:
        return _denial(DenialCode.MAX_ORDER_VALUE, rules.limits.max_order_value, value / NANO)
    # |price - mid| against mid x bps, in half ticks
    twice_mid, (part, whole) = bid + ask, rules.collar
    off = 2 * asked - twice_mid
    off = -off if off < 0 else off
    if off * whole > twice_mid * part:
        return _denial(DenialCode.PRICE_COLLAR, rules.limits.price_collar_bps, off * _BPS / twice_mid)
    return None


def _check_exposure(
    rules: OrderRules, proposal: Proposal, view: View, furthest: int, opposite: int, ask: int
) -> Denial | None:
    """How far the position can go in the order's direction, and in the opposite one, with everything open filled."""
    max_position = rules.max_position
    if max_position is not None and furthest > max_position:
        return _denial(DenialCode.MAX_POSITION, rules.limits.max_position, rules.quantity(furthest))
    value = ask * rules.nanos_per_tick_lot
    gross = view.other_gross_nanos + (furthest if furthest > opposite else opposite) * value  # noqa: FURB136 - hot
    if gross > rules.max_gross:
        return _denial(DenialCode.MAX_GROSS_EXPOSURE, rules.limits.max_gross_exposure, gross / NANO)
    others = view.other_long_nanos if proposal.side == "buy" else -view.other_short_nanos
    net = others + furthest * value
    if net > rules.max_net:
        return _denial(DenialCode.MAX_NET_EXPOSURE, rules.limits.max_net_exposure, net / NANO)
    return None


def _denial(code: DenialCode, limit: float | None, resulting: float | None) -> Denial:
    return Denial(
        code=code,
        limit=None if limit is None else float(limit),
        resulting=None if resulting is None else float(resulting),
    )
