"""The ledger, beside a dict that takes each report's totals as they come: no exactness, no PnL, no memory bound."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from agents.risk.instruments import Instrument
from agents.risk.ledger import Ledger
from messages import ExecutionReport, ReportStatus, decode, encode
from messages.reports import OrderPosition
from tests.bench.risk.sampling import Size, rate_beside

Results = list[dict[str, Any]]
INSTRUMENTS = {
    name: Instrument(instrument=name, price_step=0.1, quantity_step=0.001)
    for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
}
_BEGIN_NS = 1_700_000_000_000_000_000


def reports(count: int) -> list[ExecutionReport]:
    """Orders that are accepted, partly filled, filled; two strategies buy and sell four instruments."""
    chance = random.Random(11)
    found: list[ExecutionReport] = []
    for number in range(-(-count // 3)):
        name = chance.choice(list(INSTRUMENTS))
        price = chance.randint(900, 1_100) / 10
        half = chance.randint(1, 500) / 1_000
        for seq, (status, quantity) in enumerate(
            ((ReportStatus.NEW, 0.0), (ReportStatus.PARTIALLY_FILLED, half), (ReportStatus.FILLED, 2 * half))
        ):
            found.append(
                ExecutionReport(
                    exec_id=f"{number:026d}-{seq}",
                    order_id=f"{number:026d}",
                    instrument=name,
                    ts_event=_BEGIN_NS + number,
                    side="buy" if number % 2 else "sell",
                    strategy=f"strategy-{number % 2}",
                    bundle_id=f"{number % 3:064d}",
                    status=status,
                    report_seq=seq,
                    cumulative_quantity=quantity,
                    average_price=price if quantity else 0.0,
                    cumulative_fee=round(quantity * price * 0.0005, 9),
                    leaves_quantity=2 * half - quantity,
                    order=OrderPosition(partition=number % 4, offset=number),
                )
            )
    return found[:count]


def results(size: Size) -> Results:
    """Lines of reports that are decoded already, and of their bytes."""
    told = reports(size.records)
    written = [encode(report) for report in told]
    return [
        rate_beside(
            "ledger, decoded reports applied",
            "reports/s",
            lambda: _booking(told),
            lambda: _bare(told),
            size,
            least=200_000,
        ),
        rate_beside(
            "ledger, JSON of reports decoded and applied; baseline: decoded only",
            "reports/s",
            lambda: _reading(written, Ledger(INSTRUMENTS)),
            lambda: _reading(written, None),
            size,
            least=None,
        ),
    ]


def _booking(told: Sequence[ExecutionReport]) -> Callable[[], int]:
    ledger = Ledger(INSTRUMENTS)

    def run() -> int:
        apply = ledger.apply
        for report in told:
            apply(report)
        return len(told)

    return run


def _bare(told: Sequence[ExecutionReport]) -> Callable[[], int]:
    def run() -> int:
        totals: dict[str, tuple[float, float]] = {}
        positions: dict[str, float] = {}
        for report in told:
            before, _ = totals.get(report.order_id, (0.0, 0.0))
            quantity = report.cumulative_quantity if report.side == "buy" else -report.cumulative_quantity
            positions[report.instrument] = positions.get(report.instrument, 0.0) + quantity - before
            totals[report.order_id] = (quantity, report.cumulative_fee)
        return len(told)

    return run


def _reading(written: Sequence[bytes], ledger: Ledger | None) -> Callable[[], int]:
    def run() -> int:
        for value in written:
            report = decode("reports", value)
            if ledger is not None and isinstance(report, ExecutionReport):
                ledger.apply(report)
        return len(written)

    return run
