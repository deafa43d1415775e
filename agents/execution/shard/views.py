"""What the shard's books and open orders say of a desk, and what the gate is told when an order is proposed."""

from collections.abc import Iterable
from math import ceil

from agents.execution.shard.desk import FLAT, Account, Desk
from agents.execution.shard.orders import OpenOrders
from agents.execution.shard.step import ServingBundle
from agents.risk.gate import View
from agents.risk.kill_switch import TradingState
from agents.risk.ledger import Ledger


def account_of(instrument: str, ledger: Ledger, orders: OpenOrders) -> Account:
    """Return the instrument's account as it is now; FLAT itself when there is no position and no open order."""
    position, opened = ledger.position_lots(instrument), orders.of(instrument)
    if not position and not opened.orders:
        return FLAT
    return Account(
        position_lots=position,
        buy_lots=opened.buy_lots,
        sell_lots=opened.sell_lots,
        effective_lots=position + opened.buy_lots - opened.sell_lots,
        open_orders=len(opened.orders),
        is_unanswered=opened.unanswered > 0,
        entry_price=(ledger.average_price(instrument) or 0.0) if position else 0.0,
    )


def view_of(desk: Desk, desks: Iterable[Desk], *, state: TradingState, bundle: ServingBundle | None) -> View:
    """Return the desk's account and market, and what the shard's other desks are exposed to."""
    account = desk.account
    gross = most = least = 0
    for other in desks:
        if other.account is not FLAT and other is not desk:
            low, high = _exposure(other)
            gross, most, least = gross + max(high, -low), most + high, least + low
    return View(
        position_lots=account.position_lots,
        open_buy_lots=account.buy_lots,
        open_sell_lots=account.sell_lots,
        open_orders=account.open_orders,
        bid_ticks=desk.bid_ticks,
        ask_ticks=desk.ask_ticks,
        reference_ts_ns=desk.reference_ns,
        state=state,
        awaiting_report=desk.is_disputed or account.is_unanswered,
        is_flattening=desk.is_flattening,
        other_gross_nanos=gross,
        other_long_nanos=most,
        other_short_nanos=least,
        bundle_limits=None if bundle is None else bundle.limits,
    )


def exposures_of(desks: Iterable[Desk]) -> tuple[int, int]:
    """Return the gross and the net exposure (1e-9) of all desks, with whatever is open filled for the worst."""
    gross = most = least = 0
    for desk in desks:
        if desk.account is not FLAT:
            low, high = _exposure(desk)
            gross, most, least = gross + max(high, -low), most + high, least + low
    return gross, max(most, -least)


def _exposure(desk: Desk) -> tuple[int, int]:
    """Return the desk's signed value (1e-9) with all open sells filled, and with all open buys.

    At the mid price; at what the position cost where no price is known.
    """
    account, doubled = desk.account, desk.mark_ticks_doubled
    if doubled is None:
        doubled = ceil(2 * account.entry_price / desk.instrument.price_step)
    value = doubled * desk.instrument.nanos_per_tick_lot
    # Halved away from zero: never a little less than it is.
    return (account.position_lots - account.sell_lots) * value // 2, -(
        -(account.position_lots + account.buy_lots) * value // 2
    )
