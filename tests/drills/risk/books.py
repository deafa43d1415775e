"""Books and open orders from the JSON on the topics alone: no code of the agents. Reads only what is new."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal

from tests.journeys.plain_kafka import Json, Log

_FINAL = frozenset({"filled", "canceled", "rejected", "expired"})


class Books:
    """What is open, held, and left of the money, after what the log has read so far."""

    def __init__(self, log: Log, *, cash: float, multipliers: Mapping[str, float]) -> None:
        self._log, self._multipliers = log, multipliers
        self._orders = self._reports = 0
        self._totals: dict[str, tuple[int, Decimal, Decimal]] = {}
        self._open: dict[str, str] = {}
        self._finished: set[str] = set()
        self._held: dict[str, Decimal] = defaultdict(Decimal)
        self._cash = Decimal(repr(cash))

    @property
    def cash(self) -> Decimal:
        """The money, in the currency."""
        self._take()
        return self._cash

    def open_orders(self, instruments: Iterable[str]) -> list[str]:
        """Return the orders of these instruments that have no final report."""
        self._take()
        names = set(instruments)
        return [order_id for order_id, name in self._open.items() if name in names]

    def positions(self, instruments: Iterable[str]) -> dict[str, float]:
        """Return what is held, in units, flat ones left out."""
        self._take()
        return {name: float(self._held[name]) for name in instruments if self._held[name]}

    def _take(self) -> None:
        orders, reports = self._log.of("orders", after=self._orders), self._log.of("reports", after=self._reports)
        self._orders, self._reports = self._orders + len(orders), self._reports + len(reports)
        for order in orders:
            if order["type"] == "Order" and order["order_id"] not in self._finished:
                self._open[order["order_id"]] = order["instrument"]
        for report in reports:
            self._book(report)

    def _book(self, report: Json) -> None:
        order_id, name = report["order_id"], report["instrument"]
        if report["status"] in _FINAL:
            self._finished.add(order_id)
            self._open.pop(order_id, None)
        sequence, quantity, paid = self._totals.get(order_id, (-1, Decimal(0), Decimal(0)))
        if report["report_seq"] <= sequence:
            return
        sign = 1 if report["side"] == "buy" else -1
        total = sign * Decimal(repr(report["cumulative_quantity"]))
        value = total * Decimal(repr(report["average_price"])) * Decimal(repr(self._multipliers[name]))
        value += Decimal(repr(report["cumulative_fee"]))
        self._totals[order_id] = report["report_seq"], total, value
        self._held[name] += total - quantity
        self._cash -= value - paid
