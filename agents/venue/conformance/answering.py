"""How a venue answers: each order once, in its place, with numbers that add up."""

from agents.venue.conformance.case import Case
from agents.venue.conformance.contract import VenueUnderTest
from agents.venue.conformance.desk import HALF_SPREAD, MID, Desk
from messages import ReportStatus


async def each_order_ends_once(desk: Desk, _venue: VenueUnderTest) -> None:
    orders = [await desk.order(side, quantity=2) for side in ("buy", "sell", "buy")]
    for order in orders:
        await desk.ended(order)
    await desk.barrier()
    for order in orders:
        last = [report for report in desk.said(order) if report.status.is_final]
        desk.require(len(last) == 1, f"{order.order_id} has {len(last)} last reports")
        desk.require(last[0].status is ReportStatus.FILLED, f"{order.order_id} met its market and is {last[0].status}")


async def answers_stand_in_the_partition_of_the_order(desk: Desk, _venue: VenueUnderTest) -> None:
    strange = await desk.barrier()  # its key belongs to another partition
    order = await desk.order()
    await desk.ended(order)
    for record in desk.records:
        if record.topic == "reports":
            desk.require(record.partition == desk.home, f"a report of {strange.order_id} is in {record.partition}")


async def totals_add_up_over_several_fills(desk: Desk, _venue: VenueUnderTest) -> None:
    await desk.show(MID - HALF_SPREAD, MID + HALF_SPREAD, size=3)
    order = await desk.order(quantity=8, limit=MID + HALF_SPREAD, time_in_force="GTC")
    await desk.heard(order, ReportStatus.PARTIALLY_FILLED)
    await desk.show(MID - HALF_SPREAD - 4, MID - HALF_SPREAD - 1, size=2)
    await desk.until(lambda: len(desk.said(order)) > 1, "a second fill")
    await desk.show(MID - HALF_SPREAD - 8, MID - HALF_SPREAD - 6, size=50)
    said = await desk.ended(order)
    desk.require(said[-1].status is ReportStatus.FILLED, f"it is {said[-1].status} after all of it was to be had")
    desk.require(desk.filled(order) == order.quantity, f"{desk.filled(order):g} of {order.quantity:g} were filled")


async def a_refusal_says_why(desk: Desk, _venue: VenueUnderTest) -> None:
    order = await desk.order(instrument=desk.stranger)
    (report,) = await desk.ended(order)
    desk.require(report.status is ReportStatus.REJECTED, f"an order for an unknown instrument is {report.status}")
    desk.require(bool(report.reason), "the rejection has no reason")


CASES = (
    Case(number=1, title="each order ends once", run=each_order_ends_once),
    Case(number=2, title="answers stand beside the order", run=answers_stand_in_the_partition_of_the_order),
    Case(number=3, title="totals add up", run=totals_add_up_over_several_fills),
    Case(number=4, title="a refusal says why", run=a_refusal_says_why),
)
