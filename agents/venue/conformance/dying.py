"""A venue adapter that stops, is killed, or was away: nothing is lost, nothing comes twice."""

from agents.venue.conformance.case import Case
from agents.venue.conformance.contract import VenueUnderTest
from agents.venue.conformance.desk import HALF_SPREAD, MID, Desk
from messages import Order, ReportStatus

BID, ASK = MID - HALF_SPREAD, MID + HALF_SPREAD
_ROUNDS = 3


async def a_stop_loses_and_doubles_nothing(desk: Desk, venue: VenueUnderTest) -> None:
    for _ in range(_ROUNDS):
        orders = await _burst(desk)
        await venue.stop()
        await desk.show(BID - 1, ASK - 1)
        await venue.start()
        await _all_end(desk, orders)


async def a_kill_loses_and_doubles_nothing(desk: Desk, venue: VenueUnderTest) -> None:
    for _ in range(_ROUNDS):
        orders = await _burst(desk)
        await desk.ended(orders[0])
        await venue.kill()
        await desk.show(BID - 1, ASK - 1)
        await venue.start()
        await _all_end(desk, orders)


async def what_happened_while_it_was_away_is_told(desk: Desk, venue: VenueUnderTest) -> None:
    resting = await desk.order(quantity=4, limit=BID, time_in_force="GTC")
    await desk.rests(resting)
    await venue.stop()
    await desk.show(BID - 6, BID - 3)  # the venue, or the recorded market, fills it meanwhile
    sent = await desk.order(quantity=2)
    await venue.start()
    said = await desk.ended(resting)
    desk.require(said[-1].status is ReportStatus.FILLED, f"a fill of meanwhile is told as {said[-1].status}")
    await _all_end(desk, [sent])


async def a_restart_says_nothing_again(desk: Desk, venue: VenueUnderTest) -> None:
    order = await desk.order(quantity=2)
    await desk.ended(order)
    resting = await desk.order(limit=BID - 50, time_in_force="GTC")
    await desk.rests(resting)
    before = [report.exec_id for report in desk.reports]
    for _ in range(2):
        await venue.stop()
        await venue.start()
    await desk.cancel(resting)
    await desk.heard(resting, ReportStatus.CANCELED)
    again = [report.exec_id for report in desk.reports if report.exec_id in before][len(before) :]
    desk.require(not again, f"{len(again)} reports came again after a restart")


async def _burst(desk: Desk) -> list[Order]:
    """Orders of all kinds: some end at once, some rest until they are cancelled, some are cancelled on their way."""
    orders = []
    for _ in range(4):
        orders.append(await desk.order("buy", 2))
        orders.append(await desk.order("sell", 1, BID, time_in_force="GTC"))
        orders.append(await desk.order("buy", 2, BID - 20, time_in_force="GTC"))
        await desk.cancel(orders[-1])
    return orders


async def _all_end(desk: Desk, orders: list[Order]) -> None:
    for order in orders:
        if order.time_in_force == "GTC" and not any(report.status.is_final for report in desk.said(order)):
            await desk.cancel(order)  # it may have come to the venue after the market had moved
    for order in orders:
        await desk.ended(order)
    await desk.barrier()
    for order in orders:
        last = [report for report in desk.said(order) if report.status.is_final]
        desk.require(len(last) == 1, f"{order.order_id} has {len(last)} last reports")
        desk.require(desk.filled(order) <= order.quantity, f"{desk.filled(order):g} of {order.quantity:g} were filled")
    await desk.check_position()


CASES = (
    Case(number=20, title="a stop loses and doubles nothing", run=a_stop_loses_and_doubles_nothing),
    Case(number=21, title="a kill loses and doubles nothing", run=a_kill_loses_and_doubles_nothing),
    Case(number=22, title="what happened meanwhile is told", run=what_happened_while_it_was_away_is_told),
    Case(number=23, title="a restart says nothing again", run=a_restart_says_nothing_again),
)
