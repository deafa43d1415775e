"""What the gate is told of a shard when an order is proposed."""

from collections.abc import Iterable

from agents.execution.orders import OpenOrders
from agents.execution.step import Desk, ServingBundle
from agents.risk.gate import View
from agents.risk.kill_switch import TradingState
from agents.risk.ledger import Ledger


def view_of(
    desk: Desk,
    desks: Iterable[Desk],
    ledger: Ledger,
    orders: OpenOrders,
    *,
    state: TradingState,
    bundle: ServingBundle | None,
) -> View:
    """Return the desk's position, market and open orders, and what the shard's other desks are exposed to."""
    name = desk.instrument.instrument
    buy, sell = orders.in_flight(name)
    gross = net = 0
    for other in desks:
        if other is not desk:
            low, high = _exposure(other, ledger, orders)
            gross += max(abs(low), abs(high))
            net += max(low, high, key=abs)
    opened = orders.of(name)
    return View(
        position_lots=ledger.position_lots(name),
        open_buy_lots=buy,
        open_sell_lots=sell,
        open_orders=len(opened),
        bid_ticks=desk.bid_ticks,
        ask_ticks=desk.ask_ticks,
        reference_ts_ns=desk.reference_ns,
        state=state,
        awaiting_report=desk.is_disputed
        or (bool(opened) and any(o.is_cancel_asked and not o.is_answered for o in opened)),
        is_flattening=desk.is_flattening,
        other_gross_exposure_nanos=gross,
        other_net_exposure_nanos=net,
        bundle_limits=bundle.limits if bundle else {},
    )


def _exposure(desk: Desk, ledger: Ledger, orders: OpenOrders) -> tuple[int, int]:
    """Return the desk's signed value (1e-9) with all open sells filled, and with all open buys filled."""
    name = desk.instrument.instrument
    position = ledger.position_lots(name)
    buy, sell = orders.in_flight(name)
    if not (position or buy or sell) or (doubled := desk.mark_ticks_doubled) is None:
        return 0, 0
    half_value = doubled * desk.instrument.nanos_per_tick_lot
    return (position - sell) * half_value // 2, (position + buy) * half_value // 2
