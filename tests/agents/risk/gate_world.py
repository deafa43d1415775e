"""A shard's surroundings in miniature: two instruments, their orders in flight, and a gate beside its oracle.

Whatever happens is written as four bytes, so that long histories are cheap to draw and short ones to find.
"""

from collections import Counter
from decimal import Decimal
from math import isclose
from typing import Any

from agents.risk.gate import Gate, Proposal, View
from agents.risk.kill_switch import TradingState
from agents.risk.limits.file import Limits
from messages import Denial
from tests.agents.risk.gate_oracle import SECOND, Market, Oracle, Sent, Verdict, Wanted, exact, exits
from tests.agents.risk.market import INSTRUMENTS, NOW

MS = 1_000_000
BYTES_A_MOVE = 4
USUAL = {
    "max_position": 0.5,
    "max_order_quantity": 0.3,
    "max_order_value": 28.0,
    "min_order_quantity": 0.02,
    "min_order_value": 1.9,
    "max_gross_exposure": 70.0,
    "max_net_exposure": 45.0,
    "max_open_orders": 4,
    "price_collar_bps": 120.0,
    "price_collar_period_bps": 250.0,
    "price_collar_period_ms": 2_000,
    "max_messages_per_s": 6,
    "duplicate_window_ms": 20,
    "max_repeated_executions": 12,
    "repeated_execution_window_ms": 3_000,
    "max_reference_age_ms": 1_000,
}
ETH = {"max_position": 0.6, "max_order_quantity": 0.25, "max_order_value": 27.0}
FILES: tuple[dict[str, Any], ...] = (
    {"defaults": USUAL, "instruments": {"ETH": ETH}},
    {"defaults": USUAL | {"max_position": 0.3, "max_messages_per_s": 3, "max_open_orders": 2}},
    {"defaults": USUAL, "strategies": {"t": {"max_position": 0.2, "min_order_value": 5.0, "duplicate_window_ms": 500}}},
    {"defaults": USUAL | {"duplicate_window_ms": 0, "repeated_execution_window_ms": 0, "price_collar_period_ms": 0}},
    {"defaults": {"max_messages_per_s": 5, "max_gross_exposure": 50.0, "max_repeated_executions": 4}},
    {"defaults": USUAL | {"min_order_quantity": 0.065, "max_order_quantity": 0.155, "max_position": 0.2575}},
    {"defaults": USUAL | {"max_reference_age_ms": 0, "price_collar_bps": 30.0, "max_net_exposure": 20.5}},
    {
        "defaults": USUAL
        | {"max_position": 0.005, "max_gross_exposure": 1e-9}
        | {"min_order_quantity": 0.0, "min_order_value": 0.0},
        "instruments": {"BTC": USUAL},
        "strategies": {"s": {"max_order_value": 12.5, "price_collar_period_bps": 50.0}},
    },
)
BUNDLES: tuple[dict[str, float] | None, ...] = (
    None,
    {},
    {"max_position": 0.25, "max_order_quantity": 0.2},
    {"max_position": 99.0, "max_open_orders": 2, "max_messages_per_s": 4},
    {"max_gross_exposure": 30.0, "max_net_exposure": 12.0, "price_collar_bps": 40.0, "max_reference_age_ms": 300},
    {"min_order_value": 9.0, "min_order_quantity": 0.05, "price_collar_period_bps": 80.0, "max_order_value": 15.0},
    {"max_fun": 1.0},
    {"max_position": float("nan")},
    {"duplicate_window_ms": 5.0},
)
GAPS_NS = (
    0,
    1,
    5 * MS,
    5 * MS,
    20 * MS - 1,
    20 * MS,
    20 * MS + 1,
    300 * MS,
    SECOND - 1,
    SECOND,
    SECOND + 1,
    3 * SECOND,
)
NAN, INFINITY = float("nan"), float("inf")
ODD_LOTS: tuple[Any, ...] = (0, -3, 1.5, NAN, INFINITY, 2**53, 2**53 + 1, 10**400)
ODD_LIMITS: tuple[Any, ...] = (0, -2, 200.5, NAN, -INFINITY, 2**53, 2**53 + 1, None)
ODD_QUOTES: tuple[tuple[Any, Any], ...] = (
    (None, 201),
    (200, None),
    (0, 1),
    (-5, 201),
    (202, 201),
    (None, None),
    (0, 0),
)
STATES = (*[TradingState.ACTIVE] * 9, *[TradingState.REDUCING] * 2, TradingState.HALTED)


class World:
    """Everything that can happen to a gate; each proposal is put to gate and oracle, and what passes is sent."""

    def __init__(self) -> None:
        self.now = NOW
        self.markets = [self._market("BTC", "s", 200), self._market("ETH", "t", 10_000)]
        self.state, self.flattening = TradingState.ACTIVE, False
        self.file, self.bundle = FILES[0], BUNDLES[0]
        self.gate = Gate(Limits.convert(self.file), INSTRUMENTS)
        self.oracle = Oracle(self.file)
        self.excused = {market.name: (0, 0) for market in self.markets}
        self.sent: list[int] = []
        self.last = Wanted(self.markets[0], "buy", 5)
        self.seen: Counter[str] = Counter()
        self.steps = 0

    def _market(self, name: str, strategy: str, ticks: int) -> Market:
        known = INSTRUMENTS[name]
        steps = Decimal(repr(known.price_step)), Decimal(repr(known.quantity_step))
        return Market(name, strategy, *steps, bid=ticks, ask=ticks + 1, quoted_ns=self.now)

    def play(self, moves: bytes) -> None:
        """Let one thing happen after the other."""
        for at in range(0, len(moves) - len(moves) % BYTES_A_MOVE, BYTES_A_MOVE):
            self.move(*moves[at : at + BYTES_A_MOVE])

    def move(self, kind: int, a: int, b: int, c: int) -> None:  # noqa: C901, PLR0912 - one case a kind of event
        """Let one thing happen: of which kind, to which market, and how."""
        market = self.markets[a % 2]
        a //= 2
        match kind % 40:
            case 0:
                return
            case 1 | 2 | 3 | 4 | 5:
                self.now += GAPS_NS[b % len(GAPS_NS)]
            case 6 | 7 | 8 | 9:
                self.quote(market, b, c)
            case 10:
                market.bid, market.ask = ODD_QUOTES[b % len(ODD_QUOTES)]
                market.quoted_ns = (self.now, self.now, self.now + 1, None)[c % 4]
                if c % 3 == 0:
                    market.bid, market.ask = (200, 201) if market.name == "BTC" else (10_000, 10_050)
            case 11 | 12 | 13 | 14:
                self.fill(market, b, c)
            case 15 | 16 | 17:
                self.cancel(market, b)
            case 18 | 19:
                self.end(market, b)
            case 21:
                self.outside(market, (c % 31) - 15 if b % 4 == 0 else 0)
            case 22:
                self.state = STATES[b % len(STATES)]
            case 23:
                self.flattening = b % 3 == 0
            case 24:
                market.unanswered = b % 8 == 0
            case 25:
                self.change(b, c)
            case 26:
                self.gate.release(market.strategy, market.name)
                self.oracle.released(market)
            case 27:
                self.gate = Gate.restore(self.gate.snapshot(), Limits.convert(self.file), INSTRUMENTS)
            case 28:
                self.propose(odd(market, a, b, c))
            case 29 | 30:
                self.propose(self.last)
            case _:
                if c % 8 > 1:
                    self.quote(market, 3, c)  # as most orders follow on a quote
                self.propose(order(market, a, b, c // 8))
        self.steps += 1

    def quote(self, market: Market, b: int, c: int) -> None:
        at = market.bid if isinstance(market.bid, int) and market.bid > 0 else (200 if market.name == "BTC" else 10_000)
        scale = 1 if market.name == "BTC" else 50
        market.bid = max(1, at + (b % 7 - 3) * scale)
        market.ask = market.bid + (1, 1, 1, 0, 2, 1, 6)[c % 7] * scale
        market.quoted_ns = self.now

    def fill(self, market: Market, b: int, c: int) -> None:
        """Part of an order fills, or all of it; one whose cancel is asked for, too."""
        if market.open:
            sent = market.open[b % len(market.open)]
            part = sent.lots if c % 3 == 0 else (1 if sent.lots > 0 else -1) * min(abs(sent.lots), c)
            market.position += part
            sent.lots -= part
            market.open = [sent for sent in market.open if sent.lots]

    def cancel(self, market: Market, b: int) -> None:
        if market.open:
            market.open[b % len(market.open)].is_cancel_asked = True
            self.gate.record_cancel(self.now)
            self.oracle.message(self.now)

    def end(self, market: Market, b: int) -> None:
        """Canceled, rejected, expired: what is left of an order never fills."""
        if market.open:
            del market.open[b % len(market.open)]

    def outside(self, market: Market, lots: int) -> None:
        """A correction by hand, or a fill after the order's end."""
        market.position += lots
        self.excuse()

    def change(self, b: int, c: int) -> None:
        """Other limits, or another bundle."""
        if c % 2:
            bundle = BUNDLES[b % len(BUNDLES)]
            self.bundle = None if bundle is None else dict(bundle)
        else:
            self.file = FILES[b % len(FILES)]
            self.gate.set_limits(Limits.convert(self.file))
            self.oracle.change(self.file)
            self.excuse()

    def excuse(self) -> None:
        """What is there now may stay; no order may make more of it."""
        self.excused = {market.name: (min(market.positions()), max(market.positions())) for market in self.markets}

    def propose(self, wanted: Wanted) -> None:
        self.last = wanted
        market = wanted.market
        others = [other for other in self.markets if other is not market]
        if any(not isinstance(other.bid, int) or not isinstance(other.ask, int) for other in others):
            return  # what the shard says of instruments without a price is not the gate's affair
        expected = self.oracle.verdict(wanted, self.state.value, others, self.bundle, self.flattening, self.now)
        proposal = Proposal(
            instrument=market.name,
            strategy=market.strategy,
            side=wanted.side,
            lots=wanted.lots,
            order_type=wanted.order_type,
            limit_ticks=wanted.limit,
            reduce_only=wanted.reduce_only,
        )
        found = self.gate.check(proposal, self.view(market, others), self.now)
        assert agree(found, expected), (found, expected)
        self.seen["PASSED" if expected is None else expected[0]] += 1
        if expected is not None:
            return
        self.check_sent(wanted)
        closed = self.gate.record(proposal, market.bid + market.ask, self.now)
        assert closed == self.oracle.sent(wanted, self.now)
        market.open.append(Sent(wanted.signed))
        self.sent = [ts for ts in [*self.sent, self.now] if self.now - ts < SECOND]
        self.look()

    def view(self, market: Market, others: list[Market]) -> View:
        worths = [[int(worth * 10**9) for worth in other.worths()] for other in others]
        return View(
            position_lots=market.position,
            open_buy_lots=sum(sent.lots for sent in market.open if sent.lots > 0),
            open_sell_lots=-sum(sent.lots for sent in market.open if sent.lots < 0),
            open_orders=len(market.open),
            bid_ticks=market.bid,
            ask_ticks=market.ask,
            reference_ts_ns=market.quoted_ns,
            state=self.state,
            awaiting_report=market.unanswered,
            is_flattening=self.flattening,
            other_gross_nanos=sum(max(map(abs, worth)) for worth in worths),
            other_long_nanos=sum(max(worth) for worth in worths),
            other_short_nanos=sum(min(worth) for worth in worths),
            bundle_limits=self.bundle,
        )

    def check_sent(self, wanted: Wanted) -> None:
        """What must hold of an order that passes, said without the oracle."""
        market = wanted.market
        before, after = market.positions(), market.positions(wanted.signed)
        filled = market.position + sum(sent.lots for sent in market.open) + wanted.signed
        numbers = self.oracle.numbers(market)
        assert len(market.open) < numbers["max_open_orders"]
        assert len([ts for ts in self.sent if self.now - ts < SECOND]) < numbers["max_messages_per_s"]
        assert (
            numbers["max_order_quantity"] is None
            or wanted.lots <= exact(numbers["max_order_quantity"]) / market.quantity_step
        )
        if exits(wanted):
            assert max(map(abs, after)) <= max(map(abs, before))
        if self.state is not TradingState.ACTIVE or wanted.reduce_only:
            own = [sent.lots for sent in market.open if sent.lots * wanted.signed > 0]
            assert market.position * (market.position + sum(own) + wanted.signed) >= 0
        if self.state is not TradingState.ACTIVE:
            assert abs(filled) <= abs(market.position)
            assert filled * market.position >= 0
        if self.state is TradingState.HALTED:
            assert self.flattening
            assert wanted.reduce_only

    def look(self) -> None:
        """No limit is exceeded, whichever orders in flight fill; what was there from outside does not grow."""
        for market in self.markets:
            low, high = self.excused[market.name]
            limit = self.oracle.numbers(market)["max_position"]
            if limit is not None:
                most = int(exact(limit) / market.quantity_step)
                reachable = market.positions()
                assert min(low, -most) <= min(reachable)
                assert max(reachable) <= max(high, most)


def order(market: Market, a: int, b: int, c: int) -> Wanted:
    lots = (1, 2, 5, 6, 7, 10, 12, 15, 20, 21, 25, 30, 31)[b % 13] * (1 if market.name == "BTC" else 10)
    side = "buy" if a % 2 else "sell"
    away = (None, None, None, None, 0, 1, -1, 2, -2, 3)[c % 10]
    touch = market.ask if side == "buy" else market.bid
    if away is None or not isinstance(touch, int):
        return Wanted(market, side, lots, reduce_only=a % 12 == 0)
    limit = touch + away * (1 if market.name == "BTC" else 50)
    return Wanted(market, side, lots, "limit", limit, reduce_only=a % 12 == 0)


def odd(market: Market, a: int, b: int, c: int) -> Wanted:
    match a % 5:
        case 0:
            return Wanted(market, "sell", ODD_LOTS[b % len(ODD_LOTS)])
        case 1:
            return Wanted(market, "buy", 5, "limit", ODD_LIMITS[b % len(ODD_LIMITS)])
        case 2:
            return Wanted(market, ("BUY", "", None)[b % 3], 5)
        case 3:
            return Wanted(market, "buy", 5, ("stop", "", None)[b % 3], (None, 200)[c % 2])
        case _:
            return Wanted(market, "buy", 5, "market", ODD_LIMITS[b % (len(ODD_LIMITS) - 1)])


def agree(found: Denial | None, expected: Verdict) -> bool:
    """Whether code, limit and value are the same."""
    if found is None or expected is None:
        return found is None and expected is None
    numbers = zip((found.limit, found.resulting), expected[1:], strict=True)
    return found.code.value == expected[0] and all(
        ours is theirs if ours is None or theirs is None else isclose(ours, theirs, rel_tol=1e-12)
        for ours, theirs in numbers
    )
