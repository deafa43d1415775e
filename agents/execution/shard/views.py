"""What the gate is told when an order is proposed."""

from collections.abc import Iterable
from math import ceil

from agents.execution.shard.desk import Desk
from agents.execution.shard.step import ServingBundle
from agents.risk.gate import View
from agents.risk.kill_switch import TradingState


def view_of(desk: Desk, desks: Iterable[Desk], *, state: TradingState, bundle: ServingBundle | None) -> View:
    """Return the desk's account and market, and what the shard's other desks are exposed to."""
    account = desk.account
    gross, highest, lowest = _worst_of(desks, without=desk)
    return View(
        position_lots=account.position_lots,
        open_buy_lots=account.buy_lots,
        open_sell_lots=account.sell_lots,
        open_orders=len(account.orders),
        bid_ticks=desk.bid_ticks,
        ask_ticks=desk.ask_ticks,
        reference_ts_ns=desk.reference_ns,
        state=state,
        awaiting_report=desk.is_disputed or account.unanswered > 0,
        is_flattening=desk.is_flattening,
        other_gross_nanos=gross,
        other_long_nanos=highest,
        other_short_nanos=lowest,
        bundle_limits=None if bundle is None else bundle.limits,
    )


def exposures_of(desks: Iterable[Desk]) -> tuple[int, int]:
    """Return the gross and the net exposure (1e-9) of all desks, with whatever is open filled for the worst."""
    gross, highest, lowest = _worst_of(desks)
    return gross, max(highest, -lowest)


def _worst_of(desks: Iterable[Desk], *, without: Desk | None = None) -> tuple[int, int, int]:
    """Return the gross, the highest and the lowest net value (1e-9) of the desks, what is open filled for the worst.

    At the mid price; at what the position cost where no price is known.
    """
    gross = highest = lowest = 0
    for desk in desks:
        account = desk.account
        if desk is without or not (account.position_lots or account.orders):
            continue
        if desk.bid_ticks is None or desk.ask_ticks is None:
            doubled = ceil(2 * account.entry_price / desk.instrument.price_step)
        else:
            doubled = desk.bid_ticks + desk.ask_ticks
        value = doubled * desk.instrument.nanos_per_tick_lot
        # Halved away from zero: never a little less than it is.
        low = (account.position_lots - account.sell_lots) * value // 2
        high = -(-(account.position_lots + account.buy_lots) * value // 2)
        gross += high if high > -low else -low  # noqa: FURB136 - a call costs as much as a desk
        highest += high
        lowest += low
    return gross, highest, lowest
