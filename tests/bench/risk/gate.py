"""The gate with full windows, beside the same numbers compared as floats: no windows, no exactness, no reasons."""

import random
from typing import Any

from msgspec.structs import replace

from agents.risk.gate import Gate, Proposal, View
from agents.risk.instruments import NANO, Instrument
from agents.risk.kill_switch import TradingState
from agents.risk.limits.file import Limits
from messages import Denial, DenialCode
from tests.bench.risk.sampling import Size, calls_beside

Results = list[dict[str, Any]]
NOW_NS = 1_700_000_000_000_000_000
_MS = 1_000_000
BID, ASK = 40_000, 40_001
INSTRUMENTS = {
    name: Instrument(instrument=name, price_step=0.5, quantity_step=0.001) for name in ("BTCUSDT", "ETHUSDT")
}
LIMITS = Limits.convert(
    {
        "defaults": {
            "max_order_quantity": 5.0,
            "min_order_quantity": 0.001,
            "min_order_value": 10.0,
            "max_position": 20.0,
            "max_repeated_executions": 100_000,
        },
        "strategies": {"calm": {"max_order_quantity": 2.0}},
    }
)
BUNDLE_LIMITS = {"max_position": 15.0, "max_order_value": 80_000.0}
Case = tuple[Proposal, View, int]


def busy_gate(limits: Limits = LIMITS) -> Gate:
    """A gate behind most of a minute of orders: six a second, in two instruments for two strategies."""
    chance, gate = random.Random(17), Gate(limits, INSTRUMENTS)
    for number in range(300):
        gate.record(_proposal(chance), BID + ASK + chance.randint(-40, 40), NOW_NS - 50_000 * _MS + number * 160 * _MS)
    return gate


def passing() -> list[Case]:
    """Orders that pass: entries and exits, market and limit, buys and sells, positions long and short."""
    chance = random.Random(19)
    return [(_proposal(chance), _view(chance), NOW_NS + n) for n in range(64)]


def with_bundle() -> list[Case]:
    """The same under a bundle that has limits of its own."""
    return [(proposal, replace(view, bundle_limits=BUNDLE_LIMITS), now_ns) for proposal, view, now_ns in passing()]


def denied() -> list[Case]:
    """Orders that eight different checks deny."""
    entry, chance = Proposal(instrument="BTCUSDT", strategy="quick", side="buy", lots=100), random.Random(23)
    view = replace(_view(chance), position_lots=500)
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"instrument": "DOGE"}, {}),
        ({"lots": 5_001}, {}),
        ({"lots": 4_900}, {"position_lots": 19_000}),
        ({"order_type": "limit", "limit_ticks": ASK + 1_000}, {}),
        ({}, {"state": TradingState.REDUCING}),
        ({}, {"state": TradingState.HALTED}),
        ({}, {"reference_ts_ns": NOW_NS - 6_000 * _MS}),
        ({}, {"open_orders": 16}),
    ]
    return [(replace(entry, **order), replace(view, **seen), NOW_NS) for order, seen in cases]


def bare(proposal: Proposal, view: View, now_ns: int) -> Denial | None:
    """Sixteen comparisons of floats."""
    sign = 1 if proposal.side == "buy" else -1
    quantity = proposal.lots * 0.001
    bid, ask = (view.bid_ticks or 0) * 0.5, (view.ask_ticks or 0) * 0.5
    mid = (bid + ask) / 2
    price = mid if proposal.limit_ticks is None else proposal.limit_ticks * 0.5
    value = quantity * price
    position = (view.position_lots + sign * proposal.lots + view.open_buy_lots - view.open_sell_lots) * 0.001
    if (
        proposal.instrument in INSTRUMENTS
        and proposal.lots > 0
        and bid > 0
        and ask > 0
        and view.state is TradingState.ACTIVE
        and now_ns - (view.reference_ts_ns or 0) <= 5_000 * _MS
        and not view.awaiting_report
        and 0.001 <= quantity <= 5.0
        and 10.0 <= value <= 100_000.0
        and abs(price - mid) <= mid * 0.01
        and -20.0 <= position <= 20.0
        and abs(position) * mid <= 1_000_000.0
        and view.open_orders < 16
    ):
        return None
    return Denial(code=DenialCode.MAX_POSITION)


def results(size: Size) -> Results:
    """Lines of orders that pass, that pass under a bundle's own limits too, and that are denied."""
    gate = busy_gate()
    if wrong := [denial for case in (*passing(), *with_bundle()) if (denial := gate.check(*case)) is not None]:
        raise RuntimeError(f"orders that were meant to pass are denied: {wrong[0]}")
    if len({denial.code for case in denied() if (denial := gate.check(*case)) is not None}) != len(denied()):
        raise RuntimeError("the orders that were meant to be denied are not, or not by different checks")
    return [
        *calls_beside(
            "gate, all rules, orders that pass", gate.check, bare, passing(), size, most_us={50: 3.0, 99: None}
        ),
        *calls_beside(
            "gate, a bundle's limits too", gate.check, bare, with_bundle(), size, most_us={50: 3.0, 99: None}
        ),
        *calls_beside("gate, orders denied", gate.check, bare, denied(), size, most_us={50: 3.0, 99: None}),
    ]


def _proposal(chance: random.Random) -> Proposal:
    is_limit, side = chance.random() < 0.5, chance.choice(("buy", "sell"))
    return Proposal(
        instrument=chance.choice(("BTCUSDT", "ETHUSDT")),
        strategy=chance.choice(("quick", "calm")),
        side="buy" if side == "buy" else "sell",
        lots=chance.randint(100, 1_000),
        order_type="limit" if is_limit else "market",
        limit_ticks=(BID if side == "buy" else ASK) + chance.randint(-5, 5) if is_limit else None,
    )


def _view(chance: random.Random) -> View:
    return View(
        position_lots=chance.randint(-5_000, 5_000),
        state=TradingState.ACTIVE,
        bid_ticks=BID,
        ask_ticks=ASK,
        reference_ts_ns=NOW_NS - chance.randint(0, 100) * _MS,
        open_buy_lots=chance.randint(0, 1_000),
        open_sell_lots=chance.randint(0, 1_000),
        open_orders=chance.randint(0, 8),
        other_gross_nanos=200_000 * NANO,
        other_long_nanos=100_000 * NANO,
        other_short_nanos=-50_000 * NANO,
    )
