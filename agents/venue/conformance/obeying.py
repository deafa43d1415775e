"""What a venue must not carry out: void, seen, old and halted orders, and what can't be read."""

from agents.venue.conformance.case import Case
from agents.venue.conformance.contract import NotConforming, Offer, VenueUnderTest
from agents.venue.conformance.desk import MID, Desk
from messages import Alert, DeadLetter, Flatten, Halt, Order, ReportStatus, Resume, encode

_OLD_NS = 3_600 * 1_000_000_000
_WHO, _WHY = "conformance", "conformance"


async def orders_of_an_older_owner_are_void(desk: Desk, _venue: VenueUnderTest) -> None:
    await _trades(desk)
    before = await desk.claim()
    await _trades(desk)
    void = desk.new_order(epoch=before, seq=desk.next_seq)
    desk.next_seq = void.seq  # its owner's numbering, not ours
    await desk.append(void)
    await desk.barrier()
    await _trades(desk)
    _silent(desk, void, "under the epoch of an older Claim")


async def what_was_seen_is_dropped(desk: Desk, _venue: VenueUnderTest) -> None:
    order = await desk.order(quantity=2)
    await desk.ended(order)
    other = desk.new_order(seq=order.seq)
    desk.next_seq -= 1
    await desk.append(order, other)  # the same record again, and another under its seq
    await desk.barrier()
    await _trades(desk)
    last = [report for report in desk.said(order) if report.status.is_final]
    desk.require(len(last) == 1, f"an order that came twice has {len(last)} last reports")
    _silent(desk, other, "with a seq that was there before")


async def an_order_id_is_answered_once(desk: Desk, _venue: VenueUnderTest) -> None:
    order = await desk.order(quantity=2)
    await desk.ended(order)
    await desk.order(quantity=2, order_id=order.order_id)
    await desk.barrier()
    await _trades(desk)
    last = [report for report in desk.said(order) if report.status.is_final]
    desk.require(len(last) == 1, f"an order id that came under two seqs has {len(last)} last reports")


async def a_gap_is_noticed_and_trading_goes_on(desk: Desk, _venue: VenueUnderTest) -> None:
    await _trades(desk)
    desk.next_seq += 3
    await _trades(desk)
    for _ in range(50):
        if any(isinstance(message, Alert) for message in await desk.messages("risk")):
            return
    raise NotConforming("three orders never came, and no Alert on `risk` says so")


async def old_orders_are_refused(desk: Desk, venue: VenueUnderTest) -> None:
    order = await desk.order(ts_decided=venue.clock.now_ns() - _OLD_NS)
    await _refused(desk, order, "was decided an hour ago")
    await _trades(desk)


async def a_halt_refuses_all_but_flattening_and_cancels(desk: Desk, _venue: VenueUnderTest) -> None:
    await _trades(desk, quantity=5)
    resting = await desk.order(limit=MID - 100, time_in_force="GTC")
    await desk.rests(resting)
    halt = await desk.control(Halt(scope="portfolio", level="halted", writer=_WHO, reason=_WHY, ts=0))
    await _refused_soon(desk, {}, "was sent after a Halt")
    await _refused_soon(desk, {"side": "sell", "reduce_only": True}, "was sent after a Halt, and no Flatten is on")
    await desk.cancel(resting)
    await desk.heard(resting, ReportStatus.CANCELED)
    await desk.control(Flatten(scope="portfolio", on=True, who=_WHO, reason=_WHY, ts=0))
    await _passes_soon(desk, {"side": "sell", "reduce_only": True}, "to flatten")
    await _refused_soon(desk, {}, "opens a position while a Flatten is on")
    await desk.control(Flatten(scope="portfolio", on=False, who=_WHO, reason=_WHY, ts=0))
    await desk.control(Resume(scope="portfolio", clears=(halt,), who=_WHO, reason=_WHY, ts=0))
    await _passes_soon(desk, {}, "after the Resume")


async def what_cannot_be_read_is_parked(desk: Desk, _venue: VenueUnderTest) -> None:
    bad = (b"{broken", b'{"type":"Order"}', encode(desk.new_order()).replace(b'"buy"', b'"hold"'))
    desk.next_seq -= 1
    await desk.append_raw(*bad, b'{"type":"SomethingOfALaterVersion"}')
    await _trades(desk)
    for _ in range(50):
        letters = [letter for letter in await desk.messages("dead-letters") if isinstance(letter, DeadLetter)]
        if {letter.value for letter in letters} >= set(bad):
            desk.require(len(letters) == len(bad), f"{len(letters)} dead letters for {len(bad)} bad records")
            return
    raise NotConforming("records that can't be read are not on `dead-letters`")


async def _trades(desk: Desk, quantity: int = 1) -> None:
    """Require that an order passes."""
    said = await desk.ended(await desk.order(quantity=quantity))
    desk.require(said[-1].status is ReportStatus.FILLED, f"a good order is {said[-1].status}: {said[-1].reason}")


async def _refused(desk: Desk, order: Order, why: str) -> None:
    said = await desk.ended(order)
    desk.require(said[-1].status is ReportStatus.REJECTED, f"an order that {why} is {said[-1].status}")


async def _refused_soon(desk: Desk, terms: dict[str, object], why: str) -> None:
    """`control` and `orders` are two topics: an order may still be read before the record that forbids it."""
    await _soon(desk, terms, ReportStatus.REJECTED, f"an order that {why} is not rejected")


async def _passes_soon(desk: Desk, terms: dict[str, object], why: str) -> None:
    await _soon(desk, terms, ReportStatus.FILLED, f"an order {why} is not filled")


async def _soon(desk: Desk, terms: dict[str, object], status: ReportStatus, otherwise: str) -> None:
    for _ in range(3):
        said = await desk.ended(await desk.order(**terms))  # type: ignore[arg-type]
        if said[-1].status is status:
            return
    raise NotConforming(f"{otherwise}: {said[-1].status} ({said[-1].reason})")


def _silent(desk: Desk, order: Order, what: str) -> None:
    desk.require(not desk.said(order), f"an order {what} was answered")


CASES = (
    Case(number=5, title="void orders are not there", run=orders_of_an_older_owner_are_void),
    Case(number=6, title="what was seen is dropped", run=what_was_seen_is_dropped),
    Case(number=7, title="an order id is answered once", run=an_order_id_is_answered_once),
    Case(number=8, title="a gap is noticed", run=a_gap_is_noticed_and_trading_goes_on),
    Case(number=9, title="old orders are refused", run=old_orders_are_refused),
    Case(
        number=10,
        title="a Halt stops new orders",
        run=a_halt_refuses_all_but_flattening_and_cancels,
        needs=frozenset({Offer.REDUCE_ONLY}),
    ),
    Case(number=11, title="bad records are parked", run=what_cannot_be_read_is_parked),
)
