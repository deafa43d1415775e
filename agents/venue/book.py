"""The paper venue of one partition, pure: market records and order records in, reports out.

What it answers to an order is a function of `orders` and `market`, however far it lags behind either: an order arrives
at its source record's `ts_recv` + latency and meets the first good quote from there on. A cancel names no market
record, so the records' own times decide: it takes effect at the first market record of the partition that the broker
took in later than the cancel's record time + latency. So one thing is asked of the caller: when a market record is
handed over, the cancels whose time it has passed have been. Where one comes later all the same, fills already reported
stand.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping

from agents.risk.instruments import Instrument
from agents.venue.config import VenueConfig
from agents.venue.intake import Intake
from agents.venue.latency import Latency, latency_of
from agents.venue.open_orders import OpenOrders
from agents.venue.positions import Positions
from agents.venue.reasons import Reason, reason_text
from agents.venue.tape import Event, MarketMessage, Tape
from agents.venue.working import TAKES_ONCE, WorkingOrder, rejection
from messages import Cancel, Claim, ExecutionReport, Order, Record
from messages.orders import OrderMessage
from messages.reports import OrderPosition

Refusal = Callable[[Order], str | None]
_MILLI = 1_000_000
_REMEMBERED_IDS = 65_536


def refuse_nothing(_order: Order) -> str | None:
    """Let every order in."""
    return None


class PaperBook:
    """One partition. `refusal` says why an order may not be taken now, or None: halts, which no topic order fixes.

    `latency` is what the config describes, which is read anew without it.
    """

    def __init__(
        self,
        partition: int,
        config: VenueConfig,
        instruments: Mapping[str, Instrument],
        *,
        refusal: Refusal = refuse_nothing,
        latency: Latency | None = None,
    ) -> None:
        self._partition, self._config, self._instruments, self._refusal = partition, config, instruments, refusal
        self._latency = latency_of(config) if latency is None else latency
        self.positions = Positions(instruments)
        self.tape = Tape(instruments, config.bars, config.remembered_records)
        self._intake = Intake()
        self._orders: dict[str, WorkingOrder] = {}
        self._answered: dict[str, None] = {}
        self._open: defaultdict[str, OpenOrders] = defaultdict(OpenOrders)
        # The newest order of each instrument, and its source: a later one never overtakes it.
        self._newest: dict[str, WorkingOrder] = {}
        self._sources: dict[str, int] = {}
        self._halted: frozenset[str] = frozenset()
        # Source offset -> orders whose source the venue has not read yet.
        self._early: dict[int, list[tuple[Order, OrderPosition]]] = {}
        self._waiting: set[str] = set()
        # Order -> record times that market records have to pass for its cancels to take effect, in topic order.
        self._cancels: dict[str, list[int]] = {}
        self._finished: deque[str] = deque()

    @property
    def void_orders(self) -> int:
        """Orders and cancels of older owners."""
        return self._intake.void

    @property
    def missing_orders(self) -> int:
        """Orders and cancels that never came."""
        return self._intake.missing

    @property
    def open_orders(self) -> int:
        """Orders that are on their way or resting."""
        return sum(len(orders) for orders in self._open.values()) + sum(len(early) for early in self._early.values())

    def recall(self, reports: Iterable[ExecutionReport], *, is_complete: bool = True) -> None:
        """After a restart, before the first order: take in what stands on the partition of `reports`.

        Positions come from it where orders are finished, all else is derived again. `is_complete`: the partition still
        has its first record; without it positions are not known, and reduce-only orders are taken at their word.
        """
        said = list(reports)
        self.positions.recall(said, is_complete=is_complete)
        self._halted = frozenset(
            report.order_id for report in said if (report.reason or "").startswith(Reason.TRADING_HALTED)
        )

    def market(self, record: Record, message: MarketMessage | None) -> list[ExecutionReport]:
        """Take in the next market record (None: nothing usable in it); return what it makes happen."""
        offset = record.offset
        reports = self._pass_gap(offset) if self._early and offset > self.tape.next_offset else []
        if message is None or message.instrument not in self._instruments:
            self.tape.skip(offset)
            return reports + [self._orphan(*early) for early in self._early.pop(offset, ())]
        event = self.tape.add(record, message)
        if self._cancels:
            for name in [name for name in self._cancels if name in self._orders]:
                reports += self._cancel_due(self._orders[name], event)
        for working in self._open[event.instrument].touched_by(event):
            reports += working.on_event(event)
            self._refile(working)
        # Last: an order meets the market only past its source.
        for order, position in self._early.pop(offset, ()) if self._early else ():
            if order.instrument == event.instrument:
                self._admit(order, position, event)
                self.positions.forget(event)
            else:
                reports.append(self._orphan(order, position))
        return reports

    def orders(self, records: Iterable[tuple[Record, OrderMessage]]) -> list[ExecutionReport]:
        """Take in the next records of `orders`: all that are there, so that a late order meets its cancel in time."""
        reports: list[ExecutionReport] = []
        late: list[tuple[WorkingOrder, Event]] = []
        for record, message in records:
            if isinstance(message, Claim):
                self._sources.clear()
            if not self._intake.takes(record, message):
                continue
            if isinstance(message, Cancel):
                if message.order_id in self._orders or message.order_id in self._waiting:
                    under_way_ms = -(-self._latency.of(message.cancel_id) // _MILLI)
                    self._cancels.setdefault(message.order_id, []).append(record.timestamp_ms + under_way_ms)
            elif isinstance(message, Order):
                reports += self._take(record, message, late)
        for working, source in late:
            reports += self._catch_up(working, source)
        return reports + self._cancel_late()

    def _take(self, record: Record, order: Order, late: list[tuple[WorkingOrder, Event]]) -> list[ExecutionReport]:
        if order.order_id in self._answered:
            return []
        self._remember(order.order_id)
        if order.order_id in self._halted:
            return []  # halts are not on the market: it is not derived again, and takes nothing
        position = OrderPosition(partition=record.partition, offset=record.offset)
        if (reason := self._invalid(order, record)) is not None:
            return [rejection(order, position, reason)]
        if (why := self._refusal(order)) is not None:
            return [rejection(order, position, reason_text(Reason.TRADING_HALTED, why))]
        source = self._sources[order.instrument] = order.source.offset
        if source >= self.tape.next_offset:
            self._early.setdefault(source, []).append((order, position))
            self._waiting.add(order.order_id)
            return []
        event = self.tape.at(source)
        if event is None and not self.tape.remembers(source):
            forgotten = reason_text(Reason.TOO_OLD, f"market record {source} is forgotten")
            return [rejection(order, position, forgotten)]
        if event is None or event.instrument != order.instrument:
            return [self._orphan(order, position)]
        late.append((self._admit(order, position, event), event))
        return []

    def _invalid(self, order: Order, record: Record) -> str | None:
        instrument = self._instruments.get(order.instrument)
        if instrument is None:
            return reason_text(Reason.UNKNOWN_INSTRUMENT, order.instrument)
        if not instrument.lots(order.quantity):
            return reason_text(Reason.QUANTITY_STEP, f"{order.quantity:g} in steps of {instrument.quantity_step:g}")
        if (order.order_type == "limit") is (order.limit_price is None):
            return reason_text(Reason.LIMIT_PRICE, order.order_type)
        if order.limit_price is not None and not instrument.ticks(order.limit_price):
            return reason_text(Reason.PRICE_STEP, f"{order.limit_price:g} in steps of {instrument.price_step:g}")
        if order.reduce_only and order.order_type == "limit" and order.time_in_force not in TAKES_ONCE:
            return reason_text(Reason.REDUCE_ONLY_RESTS, order.time_in_force)
        source = order.source
        if source.topic != "market" or source.partition != self._partition:
            return reason_text(Reason.SOURCE, f"{source.topic}-{source.partition} is not market-{self._partition}")
        if (newest := self._sources.get(order.instrument, -1)) > source.offset:
            return reason_text(Reason.OUT_OF_ORDER, f"market record {source.offset} after {newest}")
        age_ms = record.timestamp_ms - order.ts_decided // _MILLI
        if age_ms > self._config.max_order_age_ms:
            return reason_text(Reason.TOO_OLD, f"{age_ms} ms after its decision, over {self._config.max_order_age_ms}")
        return None

    def _admit(self, order: Order, position: OrderPosition, source: Event) -> WorkingOrder:
        name = order.instrument
        working = WorkingOrder(
            order,
            position,
            self._instruments[name],
            self.positions,
            arrival_ns=source.ts_recv + self._latency.of(order.order_id),
            trade_lag_ns=self._config.trade_lag_ns,
            before=self._newest.get(name),
        )
        self._orders[order.order_id] = self._newest[name] = working
        self._waiting.discard(order.order_id)
        self._open[name].add(working)
        return working

    def _orphan(self, order: Order, position: OrderPosition) -> ExecutionReport:
        """Reject an order whose source is no tick of its instrument."""
        self._waiting.discard(order.order_id)
        self._cancels.pop(order.order_id, None)
        reason = reason_text(Reason.SOURCE, f"market record {order.source.offset} is no tick of {order.instrument}")
        return rejection(order, position, reason)

    def _pass_gap(self, offset: int) -> list[ExecutionReport]:
        """Reject orders whose source was never there, or was gone before the venue came to it."""
        lost = sorted(source for source in self._early if source < offset)
        return [self._orphan(*early) for source in lost for early in self._early.pop(source)]

    def _catch_up(self, working: WorkingOrder, source: Event) -> list[ExecutionReport]:
        """Judge a late order against what the venue has already read."""
        reports: list[ExecutionReport] = []
        self.positions.forget(source)
        for event in self.tape.after(source.offset):
            reports += self._cancel_due(working, event)
            if working.is_done:
                break
            if event.instrument == working.order.instrument:
                reports += working.on_event(event)
        self._refile(working)
        return reports

    def _cancel_due(self, working: WorkingOrder, event: Event) -> list[ExecutionReport]:
        """Let those cancels of an order take effect that `event` has passed."""
        pending = self._cancels.get(working.order.order_id)
        if not pending:
            return []
        reports: list[ExecutionReport] = []
        while pending and event.record_ms > pending[0]:
            del pending[0]
            reports += working.cancel(event)
        if not pending:
            del self._cancels[working.order.order_id]
        self._refile(working)
        return reports

    def _cancel_late(self) -> list[ExecutionReport]:
        """Let cancels take effect whose market record was read before them."""
        reports: list[ExecutionReport] = []
        for name in [name for name in self._cancels if name in self._orders]:
            while name in self._cancels:
                event = self.tape.first_past_ms(self._cancels[name][0])
                if event is None:
                    break
                reports += self._cancel_due(self._orders[name], event)
        return reports

    def _refile(self, working: WorkingOrder) -> None:
        """Move an order that has finished out of the way; the last ones are kept to answer their cancels."""
        if not self._open[working.order.instrument].refile(working):
            return
        self._finished.append(working.order.order_id)
        while len(self._finished) > self._config.finished_orders:
            oldest = self._finished.popleft()
            self._orders.pop(oldest, None)
            self._cancels.pop(oldest, None)

    def _remember(self, order_id: str) -> None:
        self._answered[order_id] = None
        if len(self._answered) > _REMEMBERED_IDS:
            del self._answered[next(iter(self._answered))]
