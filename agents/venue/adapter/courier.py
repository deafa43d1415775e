"""Carries orders to the venue and what it says to `reports`.

The rule that makes it safe: an order is submitted at most once, right after it was read. Whatever the venue did not
answer is asked about until it is known, or can't be on its way any more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from agents.lifecycle.status import publish_at_last
from agents.venue.adapter.account import Account, Phase
from agents.venue.adapter.config import AdapterConfig
from agents.venue.adapter.orders import Orders
from agents.venue.adapter.venue import Venue, VenueAway, VenueOrder, VenueRefused
from messages import Cancel, Clock, ExecutionReport, NewRecord, Order, Producer, Record, encode
from messages.control_fold import ControlFold

T = TypeVar("T")
_CONNECT_S = 10.0
_IDLE_S = 5.0
_MILLI = 1_000_000
_log = logging.getLogger(__name__)


class Courier:
    """One venue. `submit_all` and `cancel_all` run for each partition, `hear` and `settle` once, beside each other."""

    def __init__(
        self,
        *,
        config: AdapterConfig,
        venue: Venue,
        clock: Clock,
        producer: Producer,
        control: ControlFold,
        orders: Orders,
        partitions: int,
    ) -> None:
        self._config, self._venue, self._clock, self._producer = config, venue, clock, producer
        self._control, self._orders = control, orders
        self._is_connected = asyncio.Event()
        self._waiting = [asyncio.Queue[Account](config.queued_orders) for _ in range(partitions)]
        self._cancels = [asyncio.Queue[Account](config.queued_orders) for _ in range(partitions)]
        # Reports of a partition go out one after the other, in the order in which their totals were taken.
        self._locks = [asyncio.Lock() for _ in range(partitions)]

    async def take(self, record: Record, message: Order | Cancel) -> None:
        """Take in the next record of `orders`; cancels overtake orders that wait. What finds no room is refused."""
        account, number = self._orders.get(message.order_id), record.partition
        if isinstance(message, Order):
            if account is not None:
                return
            account = self._orders.open(record, message)
            if self._waiting[number].full():
                await self._refuse(account, f"{self._config.queued_orders} orders wait for the venue already")
            else:
                self._waiting[number].put_nowait(account)
        elif account is not None:
            account.wants_cancel = True
            await self._cancels[number].put(account)

    async def submit_all(self, partition: int) -> None:
        """Submit one partition's orders in turn. When the venue is away they wait until they are too old."""
        while True:
            account = await self._waiting[partition].get()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.max_order_age_ms / 1000):
                    await self._is_connected.wait()
            await self._submit(account)

    async def cancel_all(self, partition: int) -> None:
        """Carry out one partition's cancels in turn."""
        while True:
            await self._cancel(await self._cancels[partition].get())

    async def hear(self) -> None:
        """Connect and follow the venue's events. Raises VenueAway when the connection is lost: then begin again."""
        try:
            await self._bounded(self._venue.connect, _CONNECT_S)
            self._is_connected.set()
            while True:
                event = await self._bounded(lambda: self._venue.next_event(_IDLE_S), 2 * _IDLE_S)
                account = None if event is None else self._orders.get(event.order_id)
                if event is not None and account is not None:
                    await self._follow(account, event)
        finally:
            self._is_connected.clear()
            self._orders.doubt_all_open(self._clock.now_ns())  # an event may have been missed

    async def settle(self) -> None:
        """Ask the venue about what is in doubt, again and again."""
        while True:
            await self._is_connected.wait()
            for account, since_ns in self._orders.doubtful():
                try:
                    await self._settle(account, since_ns)
                except VenueAway as error:
                    _log.info("%s is asked about again: %s", account.order.order_id, error)
                if not self._is_connected.is_set():
                    break
            await self._clock.sleep(self._config.ask_again_s)

    async def _follow(self, account: Account, event: VenueOrder) -> None:
        is_over = account.is_final
        await self._tell(account, lambda: account.news(event))
        if is_over and not event.status.is_final:
            await self._cancel_quietly(account)  # it was told to have ended: it must not live on

    async def _submit(self, account: Account) -> None:
        if account.wants_cancel:
            await self._tell(account, lambda: account.withdrawal(self._clock.now_ns()))
            return
        reason = self._why_not(account.order)
        if reason is None:
            account.phase = Phase.SENDING
            try:
                await self._bounded(lambda: self._venue.submit(account.order))
            except VenueRefused as refusal:
                reason = str(refusal)
            except VenueAway:
                account.doubt(self._clock.now_ns())  # it may have arrived: it is never sent again
            account.phase = Phase.SENT
        if reason is not None:
            await self._refuse(account, reason)
        elif account.wants_cancel:
            await self._cancel(account)  # it came meanwhile

    def _why_not(self, order: Order) -> str | None:
        age_ms = (self._clock.now_ns() - order.ts_decided) // _MILLI
        if age_ms > self._config.max_order_age_ms:
            return f"decided {age_ms} ms ago, over the limit of {self._config.max_order_age_ms} ms"
        if self._control.halts.level(order.strategy, order.instrument) != "halted":
            return None
        flattens = order.reduce_only and self._control.is_flattening(order.strategy, order.instrument)
        return None if flattens else "trading is halted"

    async def _cancel(self, account: Account) -> None:
        """Cancel what is left. That passes always: in a halt, and however late."""
        reason = "the order is finished" if account.is_final else None
        if reason is None and (account.is_doubtful or account.phase is not Phase.SENT):
            return  # whoever submits it or asks about it sees to it
        if reason is None:
            try:
                await self._bounded(lambda: self._venue.cancel(account.order.order_id))
            except VenueRefused as refusal:
                reason = str(refusal)
            except VenueAway:
                account.doubt(self._clock.now_ns())
        if reason is not None:
            now_ns, text = self._clock.now_ns(), reason
            await self._tell(account, lambda: account.cancel_rejection(text, now_ns))

    async def _cancel_quietly(self, account: Account) -> None:
        try:
            await self._bounded(lambda: self._venue.cancel(account.order.order_id))
        except (VenueRefused, VenueAway) as error:
            _log.warning("%s ended on reports, but the venue still works it: %s", account.order.order_id, error)

    async def _settle(self, account: Account, since_ns: int) -> None:
        state: VenueOrder | None = await self._bounded(lambda: self._venue.state(account.order.order_id))
        if state is not None:
            account.doubted_since_ns = None
            await self._tell(account, lambda: account.news(state))
            if account.wants_cancel and not account.is_final:
                await self._cancel(account)
        elif self._clock.now_ns() - since_ns > self._config.arrives_within_ms * _MILLI:
            account.doubted_since_ns = None
            await self._refuse(account, "the venue does not know the order, and it is never sent twice")

    async def _refuse(self, account: Account, reason: str) -> None:
        await self._tell(account, lambda: account.refusal(reason, self._clock.now_ns()))

    async def _tell(self, account: Account, news: Callable[[], list[ExecutionReport]]) -> None:
        """Publish what `news` returns, in the partition number of the order's record."""
        async with self._locks[account.place.partition]:
            was_final = account.is_final
            for report in news():
                record = NewRecord(key=report.instrument.encode(), value=encode(report))
                await publish_at_last(self._producer, self._clock, "reports", record, partition=account.place.partition)
            if account.is_final and not was_final:
                self._orders.finished(account)

    async def _bounded(self, call: Callable[[], Awaitable[T]], timeout_s: float | None = None) -> T:
        """Make a call of the venue; one that does not answer in time is away."""
        bound_s = timeout_s or self._config.venue_timeout_s
        try:
            async with asyncio.timeout(bound_s):
                return await call()
        except TimeoutError as error:
            raise VenueAway(f"the venue had no answer within {bound_s:g} s; the order is asked about") from error
