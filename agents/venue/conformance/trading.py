"""What an order's terms mean, and how cancels end."""

from agents.venue.conformance.case import Case
from agents.venue.conformance.contract import Offer, VenueUnderTest
from agents.venue.conformance.desk import HALF_SPREAD, MID, Desk
from messages import ReportStatus

BID, ASK = MID - HALF_SPREAD, MID + HALF_SPREAD


async def immediate_orders_never_rest(desk: Desk, venue: VenueUnderTest) -> None:
    far = await desk.order(limit=BID - 50)
    await desk.show(BID, ASK, size=3)
    large = await desk.order(quantity=9)
    for order, filled in ((far, 0), (large, 3)):
        said = await desk.ended(order)
        desk.require(said[-1].status is ReportStatus.EXPIRED, f"what is left of an IOC order is {said[-1].status}")
        quantity = desk.filled(order)
        desk.require(
            quantity == venue.instrument.quantity(filled), f"an IOC order found {filled} lots and has {quantity:g}"
        )


async def fill_or_kill_is_all_or_nothing(desk: Desk, _venue: VenueUnderTest) -> None:
    await desk.show(BID, ASK, size=3)
    large, small = [await desk.order(quantity=quantity, time_in_force="FOK", limit=ASK) for quantity in (9, 2)]
    said = await desk.ended(large)
    desk.require(said[-1].status is ReportStatus.EXPIRED, f"FOK over what is shown is {said[-1].status}")
    await desk.ended(small)
    desk.require(desk.filled(large) == 0, f"FOK over what is shown has filled {desk.filled(large):g}")
    desk.require(desk.filled(small) == small.quantity, f"FOK within what is shown has filled {desk.filled(small):g}")


async def post_only_never_takes(desk: Desk, _venue: VenueUnderTest) -> None:
    taking = await desk.order(limit=ASK, time_in_force="GTX")
    said = await desk.ended(taking)
    desk.require(desk.filled(taking) == 0, "a post-only order took what was there")
    desk.require(bool(said[-1].reason), f"a post-only order that would take is {said[-1].status} without a reason")
    resting = await desk.order(limit=BID - 3, time_in_force="GTX")
    await desk.rests(resting)
    await desk.show(BID - 9, BID - 6)
    await desk.ended(resting)
    fills = [report for report in desk.said(resting) if report.last_quantity]
    desk.require(all(report.liquidity == "maker" for report in fills), "a resting order's fill is not a maker's")


async def reduce_only_never_increases(desk: Desk, venue: VenueUnderTest) -> None:
    none = await desk.order("sell", 2, reduce_only=True)
    await desk.ended(none)
    desk.require(desk.filled(none) == 0, "a reduce-only order opened a position")
    await desk.ended(await desk.order("buy", 3))
    same, larger = await desk.order("buy", 1, reduce_only=True), await desk.order("sell", 5, reduce_only=True)
    await desk.ended(same)
    await desk.ended(larger)
    desk.require(desk.filled(same) == 0, "a reduce-only order added to a position")
    most = venue.instrument.quantity(3)
    desk.require(desk.filled(larger) <= most, "a reduce-only order of 5 lots turned a position of 3 to the other side")


async def a_cancel_ends_what_rests(desk: Desk, _venue: VenueUnderTest) -> None:
    await desk.show(BID, ASK, size=2)
    order = await desk.order(quantity=5, limit=ASK, time_in_force="GTC")
    await desk.heard(order, ReportStatus.PARTIALLY_FILLED)
    await desk.show(BID + 2, ASK + 4)
    await desk.cancel(order)
    said = await desk.ended(order)
    desk.require(said[-1].status is ReportStatus.CANCELED, f"a cancelled order is {said[-1].status}")
    desk.require(said[-1].cumulative_quantity > 0, "the fill before the cancel is gone")


async def a_late_cancel_is_rejected(desk: Desk, _venue: VenueUnderTest) -> None:
    order = await desk.order(quantity=2)
    await desk.ended(order)
    await desk.cancel(order)
    report = await desk.heard(order, ReportStatus.CANCEL_REJECTED)
    desk.require(bool(report.reason), "the rejection of a cancel has no reason")


async def a_cancel_of_nothing_changes_nothing(desk: Desk, _venue: VenueUnderTest) -> None:
    never = desk.new_order()
    desk.next_seq = never.seq
    await desk.cancel(never)
    await desk.barrier()
    desk.require(not desk.said(never), "a cancel of an order that never was got an answer")


async def order_and_cancel_at_once_end_once(desk: Desk, _venue: VenueUnderTest) -> None:
    orders = [await desk.order(quantity=1, limit=limit, time_in_force="GTC") for limit in (BID - 9, ASK, BID - 9, ASK)]
    for order in orders:
        await desk.cancel(order)
    for order in orders:
        said = await desk.ended(order)
        last = [report for report in said if report.status.is_final]
        desk.require(last[0].status in {ReportStatus.FILLED, ReportStatus.CANCELED}, f"it ended as {last[0].status}")
    await desk.barrier()


CASES = (
    Case(number=12, title="IOC never rests", run=immediate_orders_never_rest),
    Case(number=13, title="FOK is all or nothing", run=fill_or_kill_is_all_or_nothing, needs=frozenset({Offer.FOK})),
    Case(number=14, title="GTX never takes", run=post_only_never_takes, needs=frozenset({Offer.POST_ONLY})),
    Case(
        number=15,
        title="reduce-only never increases",
        run=reduce_only_never_increases,
        needs=frozenset({Offer.REDUCE_ONLY}),
    ),
    Case(number=16, title="a cancel ends what rests", run=a_cancel_ends_what_rests),
    Case(number=17, title="a late cancel is rejected", run=a_late_cancel_is_rejected),
    Case(number=18, title="a cancel of nothing changes nothing", run=a_cancel_of_nothing_changes_nothing),
    Case(number=19, title="an order and its cancel end once", run=order_and_cancel_at_once_end_once),
)
