"""The pre-trade gate: every order passes it or carries a Denial. Pure, and what it can't judge it denies.

Order of the checks (the first that fails is the answer): known instrument; quantity and price on the grid; state;
reference there and fresh; report awaited; reducing only; minimum quantity, value; maximum quantity, value; collar of
the order; collar of the period; position, gross, net exposure; open orders; duplicate; repeated execution; message
rate; bundle limits (the same checks with the bundle's stricter numbers).

An order *only reduces* when it takes the position towards zero, never through it, even if every order on its own side
fills first. Such exits are exempt from minimums, exposures, the period's collar and the repeated-execution latch.
"""

from collections.abc import Mapping

from msgspec import Struct

from agents.risk.instruments import NANO, Instrument
from agents.risk.kill_switch import TradingState
from agents.risk.limits import Limits
from agents.risk.order_rules import OrderRules, RuleBook
from agents.risk.windows import Executions, Extremes, RateWindow, Stamped
from messages.decisions import Denial, DenialCode
from messages.fields import Side
from messages.orders import OrderType

_MILLI = 1_000_000
_BPS = 10_000
_ACTIVE, _HALTED = TradingState.ACTIVE, TradingState.HALTED


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
    `other_*_exposure_nanos`: the shard's other instruments, everything open there filled. `awaiting_report`: an order
    of this instrument was not answered in time. `is_flattening`: a Flatten is on, so that reduce-only orders pass
    even when HALTED. `bundle_limits`: the active bundle's, the same mapping object each time.
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
    other_gross_exposure_nanos: int = 0
    other_net_exposure_nanos: int = 0
    bundle_limits: Mapping[str, float] | None = None


Content = tuple[str, str, str, int, int | None]
Pair = tuple[str, str]
_NOTHING: dict[Content, int] = {}


class GateState(Struct, frozen=True, kw_only=True):
    """The gate's windows: part of checkpoints. All times are of the step clock."""

    messages_ns: tuple[int, ...] = ()
    contents: tuple[tuple[Content, int], ...] = ()
    executions: tuple[tuple[Pair, tuple[int, ...], bool], ...] = ()
    references: tuple[tuple[str, tuple[Stamped, ...], tuple[Stamped, ...]], ...] = ()


class Gate:
    """Checks proposals against limits; `record` tells it what was sent, so that its windows move."""

    def __init__(self, limits: Limits, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        self._rules = RuleBook(limits, instruments)
        self._rate = RateWindow()
        self._contents: dict[Pair, dict[Content, int]] = {}
        self._executions: dict[Pair, Executions] = {}
        self._references: dict[str, Extremes] = {}

    def set_limits(self, limits: Limits) -> None:
        """Judge by other limits from now on; the windows stay."""
        self._rules = RuleBook(limits, self._instruments)

    def check(self, proposal: Proposal, view: View, now_ns: int) -> Denial | None:
        """Return why the order may not go, or None. Changes nothing. Budget: 3 us."""
        if not view.bundle_limits:
            rules = self._rules.plain(proposal.strategy, proposal.instrument)
            if rules is None:
                return Denial(code=DenialCode.UNKNOWN_INSTRUMENT)
            return self._check_by(rules, proposal, view, now_ns)
        bundled = self._rules.bundled(proposal.strategy, proposal.instrument, view.bundle_limits)
        denial = None if bundled is None else self._check_by(bundled, proposal, view, now_ns)
        if bundled is not None and denial is None:
            return None
        # Denied, or not to be understood: the bundle is the reason only where the file's own limits would let it pass.
        rules = self._rules.plain(proposal.strategy, proposal.instrument)
        if rules is None:
            return Denial(code=DenialCode.UNKNOWN_INSTRUMENT)
        limit, resulting = (None, None) if denial is None else (denial.limit, denial.resulting)
        return self._check_by(rules, proposal, view, now_ns) or _denial(DenialCode.BUNDLE_LIMIT, limit, resulting)

    def _check_by(self, rules: OrderRules, proposal: Proposal, view: View, now_ns: int) -> Denial | None:
        is_buy = proposal.side == "buy"
        denial = _check_sanity(proposal)
        if denial is not None:
            return denial
        if view.state is _HALTED and not (view.is_flattening and proposal.reduce_only):
            return Denial(code=DenialCode.HALTED)
        bid, ask, ts_ns = view.bid_ticks, view.ask_ticks, view.reference_ts_ns
        if bid is None or ask is None or ts_ns is None or bid <= 0 or ask <= 0:
            return Denial(code=DenialCode.NO_REFERENCE)
        if now_ns - ts_ns > rules.max_age_ns:
            return _denial(DenialCode.STALE_REFERENCE, rules.limits.max_reference_age_ms, (now_ns - ts_ns) / _MILLI)
        exits = only_reduces(view, proposal.lots, is_buy)
        denial = _check_reducing(proposal, view, is_buy, exits) or _check_order(rules, proposal, exits, bid, ask)
        if denial is None and not exits:
            denial = self._check_period(rules, proposal, bid + ask, now_ns) or _check_exposure(
                rules, view, proposal.lots, is_buy, max(bid, ask)
            )
        return denial or self._check_windows(rules, proposal, view, exits, now_ns)

    def _check_period(self, rules: OrderRules, proposal: Proposal, twice_mid: int, now_ns: int) -> Denial | None:
        references = self._references.get(proposal.instrument)
        if references is None:
            return None
        then = references.furthest_from(twice_mid, now_ns - rules.collar_period_ns)
        if then is None:
            return None
        moved_bps = abs(twice_mid - then) * _BPS / then
        if moved_bps > rules.limits.price_collar_period_bps:
            return _denial(DenialCode.PRICE_COLLAR_PERIOD, rules.limits.price_collar_period_bps, moved_bps)
        return None

    def _check_windows(
        self, rules: OrderRules, proposal: Proposal, view: View, exits: bool, now_ns: int
    ) -> Denial | None:
        limits = rules.limits
        if view.open_orders >= limits.max_open_orders:
            return _denial(DenialCode.MAX_OPEN_ORDERS, limits.max_open_orders, view.open_orders + 1)
        last_ns = self._contents.get((proposal.strategy, proposal.instrument), _NOTHING).get(_content(proposal))
        if last_ns is not None and now_ns - last_ns < rules.duplicate_ns:
            return _denial(DenialCode.DUPLICATE, limits.duplicate_window_ms, (now_ns - last_ns) / _MILLI)
        if not exits and self.is_latched(proposal.strategy, proposal.instrument):
            return _denial(DenialCode.REPEATED_EXECUTION, limits.max_repeated_executions, None)
        if not self._rate.has_room(limits.max_messages_per_s, now_ns):
            return _denial(DenialCode.MESSAGE_RATE, limits.max_messages_per_s, limits.max_messages_per_s + 1)
        return None

    def record(self, proposal: Proposal, twice_mid: int | None, now_ns: int) -> None:
        """Move the windows: an order was sent while the bid and the ask, in ticks, added up to `twice_mid`."""
        rules = self._rules.plain(proposal.strategy, proposal.instrument)
        if rules is None or twice_mid is None:
            return
        self._rate.add(now_ns)
        pair = proposal.strategy, proposal.instrument
        self._remember_content(pair, _content(proposal), rules.duplicate_ns, now_ns)
        executions = self._executions.get(pair) or self._executions.setdefault(pair, Executions())
        executions.add(rules.limits.max_repeated_executions, rules.repeated_ns, now_ns)
        name = proposal.instrument
        references = self._references.get(name) or self._references.setdefault(name, Extremes())
        references.add(twice_mid, rules.collar_period_ns, now_ns)

    def record_cancel(self, now_ns: int) -> None:
        """Count a cancel as a message; cancels are never blocked."""
        self._rate.add(now_ns)

    def _remember_content(self, pair: Pair, content: Content, window_ns: int, now_ns: int) -> None:
        contents = self._contents.setdefault(pair, {})
        contents.pop(content, None)
        contents[content] = now_ns
        while (oldest := next(iter(contents))) is not content and now_ns - contents[oldest] >= window_ns:
            del contents[oldest]

    def is_latched(self, strategy: str, instrument: str) -> bool:
        """Whether the repeated-execution throttle has closed: it halts the pair until a person calls for `release`."""
        executions = self._executions.get((strategy, instrument))
        return executions is not None and executions.is_latched

    def release(self, strategy: str, instrument: str) -> None:
        """A person has looked: open the repeated-execution throttle and count anew."""
        self._executions.pop((strategy, instrument), None)

    def snapshot(self) -> GateState:
        """Return the windows, equal for equal histories."""
        return GateState(
            messages_ns=self._rate.snapshot(),
            contents=tuple(item for _, contents in sorted(self._contents.items()) for item in contents.items()),
            executions=tuple((pair, e.snapshot(), e.is_latched) for pair, e in sorted(self._executions.items())),
            references=tuple((name, tuple(r.highs), tuple(r.lows)) for name, r in sorted(self._references.items())),
        )

    @classmethod
    def restore(cls, state: GateState, limits: Limits, instruments: Mapping[str, Instrument]) -> "Gate":
        """Return a gate with those windows."""
        gate = cls(limits, instruments)
        gate._rate = RateWindow(state.messages_ns)
        for content, ts_ns in state.contents:
            gate._contents.setdefault(content[:2], {})[content] = ts_ns
        gate._executions = {pair: Executions(times, is_latched=latched) for pair, times, latched in state.executions}
        gate._references = {name: Extremes(highs, lows) for name, highs, lows in state.references}
        return gate


def only_reduces(view: View, lots: int, is_buy: bool) -> bool:
    """Whether the order takes the position towards zero, never through it, even if all of its own side fills first."""
    position = view.position_lots
    if is_buy:
        return position < 0 and position + view.open_buy_lots + lots <= 0
    return position > 0 and position - view.open_sell_lots - lots >= 0


def _check_sanity(proposal: Proposal) -> Denial | None:
    lots, limit_ticks = proposal.lots, proposal.limit_ticks
    if lots - lots != 0 or (limit_ticks is not None and limit_ticks - limit_ticks != 0):  # NaN and infinity alone
        return Denial(code=DenialCode.NOT_FINITE)
    if lots.__class__ is not int or lots <= 0:
        return _denial(DenialCode.QUANTITY_STEP, 1, lots)
    if (proposal.order_type == "limit") is (limit_ticks is None):
        return Denial(code=DenialCode.PRICE_STEP)
    if limit_ticks is not None and (limit_ticks.__class__ is not int or limit_ticks <= 0):
        return _denial(DenialCode.PRICE_STEP, 1, limit_ticks)
    return None


def _check_reducing(proposal: Proposal, view: View, is_buy: bool, exits: bool) -> Denial | None:
    if view.awaiting_report and not exits:
        return Denial(code=DenialCode.AWAITING_REPORT)
    is_active = view.state is _ACTIVE
    if is_active and (exits or not proposal.reduce_only):
        return None
    position, lots = view.position_lots, proposal.lots
    filled = position + view.open_buy_lots - view.open_sell_lots + (lots if is_buy else -lots)
    # Opposite orders in flight could still make the position larger: they have to be cancelled first.
    if not exits or (not is_active and abs(filled) > abs(position)):
        return _denial(DenialCode.REDUCE_ONLY, abs(position), filled)
    return None


def _check_order(rules: OrderRules, proposal: Proposal, exits: bool, bid: int, ask: int) -> Denial | None:
    is_buy = proposal.side == "buy"
    lots, limit_ticks, limits = proposal.lots, proposal.limit_ticks, rules.limits
    touch = ask if is_buy else bid
    # A sell limit below the bid trades at the bid: that is its value.
    price = touch if limit_ticks is None else limit_ticks if is_buy else max(limit_ticks, bid)
    value = lots * price * rules.nanos_per_tick_lot
    if not exits:
        if lots < rules.min_lots:
            return _denial(DenialCode.MIN_ORDER_QUANTITY, limits.min_order_quantity, rules.quantity(lots))
        if value < rules.min_value:
            return _denial(DenialCode.MIN_ORDER_VALUE, limits.min_order_value, value / NANO)
    if rules.max_lots is not None and lots > rules.max_lots:
        return _denial(DenialCode.MAX_ORDER_QUANTITY, limits.max_order_quantity, rules.quantity(lots))
    if value > rules.max_value:
        return _denial(DenialCode.MAX_ORDER_VALUE, limits.max_order_value, value / NANO)
    # |price - mid| against mid x bps, in half ticks
    twice_mid = bid + ask
    off = abs(2 * (touch if limit_ticks is None else limit_ticks) - twice_mid) * _BPS
    if off > limits.price_collar_bps * twice_mid:
        return _denial(DenialCode.PRICE_COLLAR, limits.price_collar_bps, off / twice_mid)
    return None


def _check_exposure(rules: OrderRules, view: View, lots: int, is_buy: bool, price: int) -> Denial | None:
    limits, position = rules.limits, view.position_lots
    # How far the position can go on the order's side, and on the other, when everything there fills.
    if is_buy:
        resulting = position + view.open_buy_lots + lots
        opposite = view.open_sell_lots - position
        other_net = view.other_net_exposure_nanos
    else:
        resulting = view.open_sell_lots - position + lots
        opposite = position + view.open_buy_lots
        other_net = -view.other_net_exposure_nanos
    if rules.max_position is not None and resulting > rules.max_position:
        return _denial(DenialCode.MAX_POSITION, limits.max_position, rules.quantity(resulting))
    nanos_per_lot = price * rules.nanos_per_tick_lot
    gross = view.other_gross_exposure_nanos + (resulting if resulting > opposite else opposite) * nanos_per_lot  # noqa: FURB136 - hot
    if gross > rules.max_gross:
        return _denial(DenialCode.MAX_GROSS_EXPOSURE, limits.max_gross_exposure, gross / NANO)
    net = other_net + resulting * nanos_per_lot
    if net > rules.max_net:
        return _denial(DenialCode.MAX_NET_EXPOSURE, limits.max_net_exposure, net / NANO)
    return None


def _content(proposal: Proposal) -> Content:
    return (proposal.strategy, proposal.instrument, proposal.side, proposal.lots, proposal.limit_ticks)


def _denial(code: DenialCode, limit: float | None, resulting: float | None) -> Denial:
    return Denial(
        code=code,
        limit=None if limit is None else float(limit),
        resulting=None if resulting is None else float(resulting),
    )
