"""What one instrument holds and has open at the venue: kept up to date at each order, cancel and report."""

from msgspec import Struct


class OpenOrder(Struct, kw_only=True):
    """An order without a final report. Lots are signed by `sign`; `sent_ns` is the step clock.

    `reduce_only`: it is on the way out, so that Halt and Flatten leave it alone while that is wanted.
    """

    order_id: str
    instrument: str
    sign: int
    lots: int
    sent_ns: int
    filled_lots: int = 0
    is_answered: bool = False
    is_cancel_asked: bool = False
    reduce_only: bool = False

    @property
    def open_lots(self) -> int:
        """Lots that may still fill."""
        return self.lots - self.filled_lots


class Account(Struct, kw_only=True):
    """One instrument's position, and its open orders, oldest first, with their lots summed up, both sums positive.

    `effective_lots` is the position with all that is open filled. `unanswered` counts the orders whose cancel was asked
    for without any answer of the venue before. `entry_price` is 0 when flat.
    """

    position_lots: int = 0
    entry_price: float = 0.0
    orders: dict[str, OpenOrder] = {}
    buy_lots: int = 0
    sell_lots: int = 0
    effective_lots: int = 0
    unanswered: int = 0

    @property
    def is_unanswered(self) -> bool:
        """Whether the venue did not answer an order in time, so that its cancel was asked for."""
        return self.unanswered > 0

    @property
    def oldest_ns(self) -> int:
        """When the oldest open order was sent, on the step clock."""
        return next(iter(self.orders.values())).sent_ns

    def only_reduces(self, order: OpenOrder) -> bool:
        """Whether an open order takes the position towards zero, never through it, with all of its side filled."""
        lots = self.buy_lots if order.sign > 0 else self.sell_lots
        return order.sign * self.position_lots < 0 and lots <= abs(self.position_lots)

    def hold(self, position_lots: int, entry_price: float | None) -> None:
        """The books say so."""
        self.effective_lots += position_lots - self.position_lots
        self.position_lots, self.entry_price = position_lots, entry_price or 0.0

    def count(self, order: OpenOrder, times: int) -> None:
        """Add an order to the sums (`times` 1), or take it out (-1) before it changes."""
        lots = times * (order.lots - order.filled_lots)
        if order.sign > 0:
            self.buy_lots += lots
            self.effective_lots += lots
        else:
            self.sell_lots += lots
            self.effective_lots -= lots
        if order.is_cancel_asked and not order.is_answered:
            self.unanswered += times
