"""The gate once more, as its page tells it: decimal money, lists of what happened, every subset of fills.

It shares no code with the gate, and none of its ideas of how to be quick.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain, combinations
from typing import Any

Verdict = tuple[str, float | None, float | None] | None
MOST_STEPS = 2**53
SECOND = 1_000_000_000
STANDARD = {
    "max_order_quantity": None,
    "min_order_quantity": 0.0,
    "max_order_value": 100_000.0,
    "min_order_value": 0.0,
    "max_position": None,
    "max_gross_exposure": 1_000_000.0,
    "max_net_exposure": 1_000_000.0,
    "max_open_orders": 16,
    "price_collar_bps": 100.0,
    "price_collar_period_bps": 500.0,
    "price_collar_period_ms": 60_000,
    "max_messages_per_s": 1_000,
    "duplicate_window_ms": 20,
    "max_repeated_executions": 1_000,
    "repeated_execution_window_ms": 60_000,
    "max_reference_age_ms": 5_000,
}
REMEMBERED = {
    "price_collar_period_ms",
    "duplicate_window_ms",
    "max_repeated_executions",
    "repeated_execution_window_ms",
}
MORE_IS_STRICTER = ("min_", "price_collar_period_ms", "duplicate_window_ms", "repeated_execution_window_ms")


@dataclass
class Sent:
    """An order that is open: signed lots that may still fill."""

    lots: int
    is_cancel_asked: bool = False


@dataclass
class Market:
    """What is known of one instrument."""

    name: str
    strategy: str
    price_step: Decimal
    quantity_step: Decimal
    position: int = 0
    open: list[Sent] = field(default_factory=list)
    bid: Any = None
    ask: Any = None
    quoted_ns: Any = None
    unanswered: bool = False

    def value(self, lots: int, price: Decimal) -> Decimal:
        """Currency."""
        return lots * self.quantity_step * price * self.price_step

    def positions(self, *more: int) -> set[int]:
        """Where the position can be: whichever orders fill, these among them."""
        return {self.position + sum(filled) for filled in subsets([*(sent.lots for sent in self.open), *more])}

    def worths(self) -> list[Decimal]:
        """What the position can be worth at the mid price."""
        mid = Decimal(self.bid + self.ask) / 2 if self.bid is not None else Decimal(0)
        return [self.value(lots, mid) for lots in self.positions()]


@dataclass
class Wanted:
    """An order that asks to go."""

    market: Market
    side: Any
    lots: Any
    order_type: Any = "market"
    limit: Any = None
    reduce_only: bool = False

    @property
    def signed(self) -> int:
        lots: int = self.lots
        return lots if self.side == "buy" else -lots


def subsets(lots: list[int]) -> Iterator[tuple[int, ...]]:
    return chain.from_iterable(combinations(lots, size) for size in range(len(lots) + 1))


def strictest(name: str, values: Iterable[Any]) -> Any:
    given = [value for value in values if value is not None]
    if not given:
        return None
    return max(given) if name.startswith(MORE_IS_STRICTER) else min(given)


class Oracle:
    """Remembers every order and cancel; `limits` is a limits file as a dictionary."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self.limits = limits
        self.messages: list[int] = []
        self.orders: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self.counted: dict[tuple[str, str], list[int]] = {}
        self.closed: set[tuple[str, str]] = set()
        self.mids: dict[str, list[tuple[int, int]]] = {}
        self._numbers: dict[Any, dict[str, Any]] = {}

    def change(self, limits: dict[str, Any]) -> None:
        self.limits, self._numbers = limits, {}

    def numbers(self, market: Market, bundle: dict[str, float] | None = None) -> dict[str, Any]:
        """The limits in force."""
        key = market.name, tuple((bundle or {}).items())
        if key not in self._numbers:
            self._numbers[key] = self._merge(market, bundle)
        return self._numbers[key]

    def _merge(self, market: Market, bundle: dict[str, float] | None) -> dict[str, Any]:
        sections = (("instruments", market.name), ("strategies", market.strategy))
        special = [self.limits.get(section, {}).get(key, {}) for section, key in sections]
        found = {}
        for name, standard in (STANDARD | self.limits.get("defaults", {})).items():
            own = strictest(name, [changes.get(name) for changes in special])
            found[name] = strictest(name, [standard if own is None else own, (bundle or {}).get(name)])
        return found

    def sent(self, order: Wanted, now: int) -> bool:
        """Remember an order; True when the throttle closes with it. What a window has dropped is forgotten."""
        numbers, market = self.numbers(order.market), order.market
        pair = market.strategy, market.name
        self.message(now)
        content = (order.side, order.lots, order.limit)
        known = [entry for entry in self.orders.get(pair, []) if entry[1] != content]
        window = numbers["duplicate_window_ms"] * 1_000_000
        self.orders[pair] = [entry for entry in known if now - entry[0] < window] + [(now, content)]
        period = numbers["price_collar_period_ms"] * 1_000_000
        mids = [entry for entry in self.mids.get(market.name, []) if now - entry[0] < period]
        self.mids[market.name] = [*mids, (now, market.bid + market.ask)]
        window = numbers["repeated_execution_window_ms"] * 1_000_000
        self.counted[pair] = [ts for ts in [*self.counted.get(pair, []), now] if now - ts < window]
        if pair in self.closed or len(self.counted[pair]) < numbers["max_repeated_executions"]:
            return False
        self.closed.add(pair)
        return True

    def message(self, now: int) -> None:
        """Remember an order or a cancel."""
        self.messages = [ts for ts in [*self.messages, now] if now - ts < SECOND]

    def released(self, market: Market) -> None:
        """A person has looked."""
        pair = market.strategy, market.name
        self.closed.discard(pair)
        self.counted.pop(pair, None)

    def verdict(
        self, order: Wanted, state: str, others: list[Market], bundle: Any, flattening: bool, now: int
    ) -> Verdict:
        """Why the order may not go: code, limit, value; None: it may."""
        by_file = self.judge(order, self.numbers(order.market), state, others, flattening, now)
        if by_file is not None or not bundle:
            return by_file
        if any(
            name not in STANDARD or name in REMEMBERED or not math.isfinite(number) for name, number in bundle.items()
        ):
            return None if exits(order) else ("BUNDLE_LIMIT", None, None)
        by_bundle = self.judge(order, self.numbers(order.market, bundle), state, others, flattening, now)
        return None if by_bundle is None else ("BUNDLE_LIMIT", *by_bundle[1:])

    def judge(
        self, order: Wanted, numbers: dict[str, Any], state: str, others: list[Market], flattening: bool, now: int
    ) -> Verdict:
        return (
            malformed(order)
            or barred(order, numbers, state, flattening, now)
            or sized(order, numbers)
            or off_market(order, numbers)
            or too_much(order, numbers, others)
            or self.moved(order, numbers, now)
            or self.too_often(order, numbers, now)
        )

    def moved(self, order: Wanted, numbers: dict[str, Any], now: int) -> Verdict:
        """The collar over a period."""
        market = order.market
        if exits(order):
            return None
        mid = Decimal(market.bid + market.ask) / 2
        period = numbers["price_collar_period_ms"] * 1_000_000
        recent = [Decimal(twice) / 2 for ts, twice in self.mids.get(market.name, []) if now - ts < period]
        most = exact(numbers["price_collar_period_bps"])
        moves = (
            [max((mid - then) / then for then in recent), max((then - mid) / then for then in recent)] if recent else []
        )
        for moved in (move * 10_000 for move in moves):
            if moved > most:
                return "PRICE_COLLAR_PERIOD", numbers["price_collar_period_bps"], float(moved)
        return None

    def too_often(self, order: Wanted, numbers: dict[str, Any], now: int) -> Verdict:
        market = order.market
        pair = market.strategy, market.name
        if len(market.open) + 1 > numbers["max_open_orders"]:
            return "MAX_OPEN_ORDERS", numbers["max_open_orders"], len(market.open) + 1
        window = numbers["duplicate_window_ms"] * 1_000_000
        for ts, content in self.orders.get(pair, []):
            if content == (order.side, order.lots, order.limit) and now - ts < window:
                return "DUPLICATE", numbers["duplicate_window_ms"], (now - ts) / 1e6
        if pair in self.closed and not exits(order):
            return "REPEATED_EXECUTION", numbers["max_repeated_executions"], None
        most = numbers["max_messages_per_s"]
        if len([ts for ts in self.messages if now - ts < SECOND]) + 1 > most:
            return "MESSAGE_RATE", most, most + 1
        return None


def exact(number: float) -> Decimal:
    return Decimal(repr(number))


def exits(order: Wanted) -> bool:
    """Towards zero and never through it, even if all of its own side fills first."""
    before = order.market.position
    own = sum(sent.lots for sent in order.market.open if sent.lots * order.signed > 0)
    return before * order.signed < 0 and before * (before + own + order.signed) >= 0


def malformed(order: Wanted) -> Verdict:
    lots, limit = order.lots, order.limit
    if any(isinstance(number, float) and not math.isfinite(number) for number in (lots, limit)):
        return "NOT_FINITE", None, None
    if type(lots) is not int or not 1 <= lots <= MOST_STEPS or order.side not in ("buy", "sell"):
        return "QUANTITY_STEP", *((1, lots) if abs(lots) <= MOST_STEPS else (None, None))
    if order.order_type == "market" and limit is None:
        return None
    if order.order_type != "limit" or limit is None:
        return "PRICE_STEP", None, None
    if type(limit) is not int or not 1 <= limit <= MOST_STEPS:
        return "PRICE_STEP", *((1, limit) if abs(limit) <= MOST_STEPS else (None, None))
    return None


def barred(order: Wanted, numbers: dict[str, Any], state: str, flattening: bool, now: int) -> Verdict:
    market = order.market
    if state not in ("active", "reducing") and not (state == "halted" and flattening and order.reduce_only):
        return "HALTED", None, None
    if market.bid is None or market.ask is None or market.quoted_ns is None:
        return "NO_REFERENCE", None, None
    if not (market.bid > 0 and market.ask > 0 and market.bid <= market.ask):
        return "NO_REFERENCE", None, None
    age_ms = (now - market.quoted_ns) / 1e6
    if now < market.quoted_ns or now - market.quoted_ns > numbers["max_reference_age_ms"] * 1_000_000:
        return "STALE_REFERENCE", numbers["max_reference_age_ms"], age_ms
    if market.unanswered and not exits(order):
        return "AWAITING_REPORT", None, None
    if state == "active" and not order.reduce_only:
        return None
    before = market.position
    after = before + sum(sent.lots for sent in market.open) + order.signed
    units = float(market.quantity_step)
    if not exits(order) or (state != "active" and abs(after) > abs(before)):
        return "REDUCE_ONLY", abs(before) * units, after * units
    return None


def sized(order: Wanted, numbers: dict[str, Any]) -> Verdict:
    market = order.market
    quantity = order.lots * market.quantity_step
    # What it can cost at most, what it can bring at least: by its limit, or by the touch where that is better.
    touch = market.ask if order.side == "buy" else market.bid
    price = touch if order.limit is None else order.limit if order.side == "buy" else max(order.limit, market.bid)
    value = market.value(order.lots, Decimal(price))
    checks = (
        ("MIN_ORDER_QUANTITY", "min_order_quantity", quantity, -1),
        ("MIN_ORDER_VALUE", "min_order_value", value, -1),
        ("MAX_ORDER_QUANTITY", "max_order_quantity", quantity, 1),
        ("MAX_ORDER_VALUE", "max_order_value", value, 1),
    )
    for code, name, found, sign in checks:
        limit = numbers[name]
        if limit is not None and (found - exact(limit)) * sign > 0 and not (sign < 0 and exits(order)):
            return code, limit, float(found)
    return None


def off_market(order: Wanted, numbers: dict[str, Any]) -> Verdict:
    """The collar of the order."""
    market = order.market
    mid = Decimal(market.bid + market.ask) / 2
    touch = market.ask if order.side == "buy" else market.bid
    off = abs((touch if order.limit is None else order.limit) - mid) / mid * 10_000
    if off > exact(numbers["price_collar_bps"]):
        return "PRICE_COLLAR", numbers["price_collar_bps"], float(off)
    return None


def too_much(order: Wanted, numbers: dict[str, Any], others: list[Market]) -> Verdict:
    """Where the position can go on the order's side, and what all can be worth then."""
    if exits(order):
        return None
    market, sign = order.market, 1 if order.side == "buy" else -1
    possible = [lots * sign for lots in market.positions(order.signed)]
    furthest = max(possible)
    quantity = furthest * market.quantity_step
    if numbers["max_position"] is not None and quantity > exact(numbers["max_position"]):
        return "MAX_POSITION", numbers["max_position"], float(quantity)
    ask = Decimal(market.ask)
    gross = max(abs(market.value(lots, ask)) for lots in possible) + sum(
        max(abs(worth) for worth in other.worths()) for other in others
    )
    if gross > exact(numbers["max_gross_exposure"]):
        return "MAX_GROSS_EXPOSURE", numbers["max_gross_exposure"], float(gross)
    net = market.value(furthest, ask) + sum(max(sign * worth for worth in other.worths()) for other in others)
    if net > exact(numbers["max_net_exposure"]):
        return "MAX_NET_EXPOSURE", numbers["max_net_exposure"], float(net)
    return None
