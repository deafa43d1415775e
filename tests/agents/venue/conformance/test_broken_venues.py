"""Adapters that break one guarantee each: the case of that guarantee fails, and says so."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from agents.venue.adapter import VenueOrder, VenueRefused, agent, orders
from agents.venue.adapter.account import Account
from agents.venue.adapter.courier import Courier
from agents.venue.adapter.orders import Orders
from agents.venue.conformance import CASES, NotConforming, try_case
from agents.venue.intake import Intake
from examples.venue_adapter import LineVenue
from messages import Claim, ExecutionReport, Order, Record, ReportStatus
from messages.orders import OrderMessage
from tests.agents.venue.conformance.venues import MemoryBuses, adapter

PATIENCE_S = 0.4  # most of these are found by an answer that never comes


@pytest.fixture(autouse=True)
def published_schema() -> None:
    """Stands in for the check that all records fit the schema: here they need not."""


class OldOwnersCount(Intake):
    """Obeys whoever writes."""

    def takes(self, record: Record, message: OrderMessage) -> bool:
        if not isinstance(message, Claim):
            self._epoch = message.epoch
        return super().takes(record, message)


class SeenCounts(Intake):
    """Keeps no seq."""

    def takes(self, record: Record, message: OrderMessage) -> bool:
        self._next_seq = None
        return super().takes(record, message)


class GapsPass(Intake):
    """Does not count what is missing."""

    def takes(self, record: Record, message: OrderMessage) -> bool:
        taken, self.missing = super().takes(record, message), 0
        return taken


class ForgetsFinished(Orders):
    """Takes an order id that it has finished for a new one."""

    def finished(self, account: Account) -> None:
        del self._accounts[account.order.order_id]


def park_nothing(record: Record, reason: str, *, agent_id: str, ts: int) -> tuple[()]:
    """Throw away what can't be read."""
    return ()


class Ageless(Courier):
    """Takes orders of any age."""

    def _why_not(self, order: Order) -> str | None:
        return super()._why_not(replace(order, ts_decided=self._clock.now_ns()))


class DeafToHalts(Courier):
    """Does not look at control."""

    def _why_not(self, order: Order) -> str | None:
        reason = super()._why_not(order)
        return None if reason == "trading is halted" else reason


class HaltsEverything(Courier):
    """Lets nothing pass in a halt, not even what flattens."""

    def _why_not(self, order: Order) -> str | None:
        return super()._why_not(replace(order, reduce_only=False))


class Speechless(Courier):
    """Gives no reason."""

    async def _refuse(self, account: Account, reason: str) -> None:
        await super()._refuse(account, "")


class InTheKeysPartition(Courier):
    """Lets the bus choose the partition of its answers."""

    async def _tell(self, account: Account, news: Callable[[], list[ExecutionReport]]) -> None:
        producer = self._producer

        class Free:
            async def publish(self, topic: str, record: Any, *, partition: int | None = None) -> int:
                return await producer.publish(topic, record)

        self._producer = Free()  # type: ignore[assignment]
        try:
            await super()._tell(account, news)
        finally:
            self._producer = producer


class SilentOnLateCancels(Courier):
    """Does not answer a cancel that came too late."""

    async def _cancel(self, account: Account) -> None:
        if not account.is_final:
            await super()._cancel(account)


class DropsCancels(Courier):
    """Forgets cancels."""

    async def _cancel(self, account: Account) -> None: ...


class NeverAsks(Courier):
    """Does not ask the venue what became of orders after a restart."""

    async def settle(self) -> None:
        await asyncio.Event().wait()


class SubmitsAgain(Courier):
    """Submits what is in doubt once more."""

    async def _settle(self, account: Account, since_ns: int) -> None:
        account.doubted_since_ns, account.wants_cancel = None, False
        await self._submit(account)


class OnlyTheLastFill(Account):
    """Reports each fill as if it were all."""

    def _report(self, status: ReportStatus, now: VenueOrder, filled: float | None = None) -> ExecutionReport:
        report = super()._report(status, now, filled)
        return report if filled is None else replace(report, cumulative_quantity=filled)


class LeavesWhatIsDone(Account):
    """Does not count down what is left."""

    def _report(self, status: ReportStatus, now: VenueOrder, filled: float | None = None) -> ExecutionReport:
        return replace(super()._report(status, now, filled), leaves_quantity=self.order.quantity)


class BeginsAtZero(Account):
    """Does not take up what stands on reports."""

    def resume(self, newest: ExecutionReport, *, is_final: bool) -> None: ...


class OneNameForAll(Account):
    """Has one exec_id for all reports of an order."""

    def _report(self, status: ReportStatus, now: VenueOrder, filled: float | None = None) -> ExecutionReport:
        return replace(super()._report(status, now, filled), exec_id=self.order.order_id)


class RestsEverything(LineVenue):
    """Lets every order rest."""

    async def submit(self, order: Order) -> None:
        await super().submit(replace(order, time_in_force="GTC"))


class ForgetsReduceOnly(LineVenue):
    """Does not pass the flag on."""

    async def submit(self, order: Order) -> None:
        await super().submit(replace(order, reduce_only=False))


class ForgetsTheOrder(LineVenue):
    """Refuses to say anything of the past."""

    async def state(self, order_id: str) -> VenueOrder | None:
        return None


class CancelsNothing(LineVenue):
    """Refuses cancels of what rests."""

    async def cancel(self, order_id: str) -> None:
        raise VenueRefused("no")


Place = tuple[object, str]
INTAKE, ORDERS, COURIER, ACCOUNT = (agent, "Intake"), (agent, "Orders"), (agent, "Courier"), (orders, "Account")
BROKEN: list[tuple[Place, Callable[..., object], str]] = [
    (ORDERS, ForgetsFinished, "an_order_id_is_answered_once"),
    ((agent, "dead_letters"), park_nothing, "what_cannot_be_read_is_parked"),
    (INTAKE, OldOwnersCount, "orders_of_an_older_owner_are_void"),
    (INTAKE, SeenCounts, "what_was_seen_is_dropped"),
    (INTAKE, GapsPass, "a_gap_is_noticed_and_trading_goes_on"),
    (COURIER, Ageless, "old_orders_are_refused"),
    (COURIER, DeafToHalts, "a_halt_refuses_all_but_flattening_and_cancels"),
    (COURIER, HaltsEverything, "a_halt_refuses_all_but_flattening_and_cancels"),
    (COURIER, Speechless, "a_refusal_says_why"),
    (COURIER, InTheKeysPartition, "answers_stand_in_the_partition_of_the_order"),
    (COURIER, SilentOnLateCancels, "a_late_cancel_is_rejected"),
    (COURIER, DropsCancels, "a_cancel_ends_what_rests"),
    (COURIER, NeverAsks, "what_happened_while_it_was_away_is_told"),
    (COURIER, SubmitsAgain, "a_stop_loses_and_doubles_nothing"),
    (ACCOUNT, OnlyTheLastFill, "totals_add_up_over_several_fills"),
    (ACCOUNT, LeavesWhatIsDone, "totals_add_up_over_several_fills"),
    (ACCOUNT, BeginsAtZero, "a_restart_says_nothing_again"),
    (ACCOUNT, OneNameForAll, "totals_add_up_over_several_fills"),
]
LINES: list[tuple[type[LineVenue], str]] = [
    (RestsEverything, "immediate_orders_never_rest"),
    (RestsEverything, "fill_or_kill_is_all_or_nothing"),
    (RestsEverything, "post_only_never_takes"),
    (ForgetsReduceOnly, "reduce_only_never_increases"),
    (ForgetsTheOrder, "what_happened_while_it_was_away_is_told"),
    (CancelsNothing, "a_cancel_ends_what_rests"),
]
BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize(("place", "broken", "case"), BROKEN, ids=[broken.__name__ for _, broken, _ in BROKEN])
async def test_an_adapter_that_breaks_a_guarantee_fails_its_case(
    place: Place, broken: Callable[..., object], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*place, broken)
    await fails(case)


@pytest.mark.parametrize(("line", "case"), LINES, ids=[f"{line.__name__}-{case}" for line, case in LINES])
async def test_a_venue_that_does_not_do_its_part_fails_the_case(line: type[LineVenue], case: str) -> None:
    await fails(case, line)


async def fails(name: str, line: type[LineVenue] = LineVenue) -> None:
    case = BY_NAME[name]
    venue = await adapter(MemoryBuses(), line=line)
    try:
        with pytest.raises(NotConforming, match=f"guarantee {case.number}, "):
            await try_case(case, venue, patience_s=PATIENCE_S)
    finally:
        await venue.close()
