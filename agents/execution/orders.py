"""From a wanted position to an order, and what is still open at the venue."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from agents.risk.instruments import Instrument
from messages import Cancel, ExecutionReport, Order, ReportStatus


class OpenOrder(Struct, kw_only=True):
    """An order without a final report. Lots are signed by `sign`; `sent_ns` is the step clock."""

    order_id: str
    instrument: str
    sign: int
    lots: int
    sent_ns: int
    filled_lots: int = 0
    is_answered: bool = False
    is_cancel_asked: bool = False

    @property
    def open_lots(self) -> int:
        """Lots that may still fill."""
        return self.lots - self.filled_lots


class OpenOrders:
    """The open orders of a shard, by instrument."""

    def __init__(self) -> None:
        self._by_instrument: dict[str, dict[str, OpenOrder]] = {}

    def __iter__(self) -> Iterator[OpenOrder]:
        for orders in self._by_instrument.values():
            yield from orders.values()

    def __bool__(self) -> bool:
        """Whether anything is open."""
        return any(self._by_instrument.values())

    def of(self, instrument: str) -> Iterable[OpenOrder]:
        """Return the open orders of an instrument, oldest first."""
        return self._by_instrument.get(instrument, {}).values()

    def add(self, order: Order, instrument: Instrument, now_ns: int) -> None:
        """An order goes out."""
        lots = instrument.lots(order.quantity)
        self._by_instrument.setdefault(order.instrument, {})[order.order_id] = OpenOrder(
            order_id=order.order_id,
            instrument=order.instrument,
            sign=1 if order.side == "buy" else -1,
            lots=lots or 0,
            sent_ns=now_ns,
        )

    def cancel_asked(self, cancel: Cancel) -> None:
        """A cancel goes out."""
        if (order := self._by_instrument.get(cancel.instrument, {}).get(cancel.order_id)) is not None:
            order.is_cancel_asked = True

    def apply(self, report: ExecutionReport, instrument: Instrument) -> None:
        """Take a report in: fills only grow, a final report closes the order."""
        orders = self._by_instrument.get(report.instrument, {})
        if (order := orders.get(report.order_id)) is None:
            return
        order.is_answered = True
        order.filled_lots = max(order.filled_lots, instrument.lots(report.cumulative_quantity) or 0)
        if report.status.is_final and report.status is not ReportStatus.CANCEL_REJECTED:
            del orders[report.order_id]

    def in_flight(self, instrument: str) -> tuple[int, int]:
        """Return the open lots to buy and to sell, both positive."""
        buy = sell = 0
        for order in self.of(instrument):
            if order.sign > 0:
                buy += order.open_lots
            else:
                sell += order.open_lots
        return buy, sell

    def snapshot(self) -> tuple[OpenOrder, ...]:
        """Return the state, for a checkpoint."""
        return tuple(self)

    def restore(self, orders: Iterable[OpenOrder]) -> None:
        """Take a snapshot's state over."""
        self._by_instrument = {}
        for order in orders:
            self._by_instrument.setdefault(order.instrument, {})[order.order_id] = order
