"""A log written by hand: one shard, one instrument, two bundles."""

from collections.abc import Sequence
from typing import Any

from agents.risk.instruments import Instrument
from messages import (
    Claim,
    Decision,
    DecisionBatch,
    Denial,
    DenialCode,
    ExecutionReport,
    LoggedStep,
    Order,
    OutcomeCode,
    Quote,
    Record,
    ReportStatus,
    Step,
    Swapped,
    TrainResult,
    encode,
)
from messages.decisions import BundleActivated, MarketGap
from messages.orders import Source
from messages.reports import OrderPosition

BTC = Instrument(instrument="BTC", price_step=1.0, quantity_step=1.0)
INSTRUMENTS = {"BTC": BTC}
BEGIN_NS = 1_700_000_000_000_000_000
OLD, NEW = "old-bundle", "new-bundle"
OLD_SHA, NEW_SHA = "a" * 64, "b" * 64
SECOND_NS = 1_000_000_000

HOLD = Decision(outcome=OutcomeCode.HOLD, action=(1.0,), target=0)
NOT_DUE = Decision(outcome=OutcomeCode.HOLD)
ORDER = Decision(outcome=OutcomeCode.ORDER, action=(2.0,), target=1)
DENIED = Decision(
    outcome=OutcomeCode.DENIED, action=(2.0,), target=1, denial=Denial(code=DenialCode.MAX_POSITION, limit=1.0)
)


class RunLog:
    """Records by topic, appended in order; called like a recording."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Record]] = {}
        self._n = self._market_to = self._reports_to = 0

    def __call__(self, topic: str, partition: int) -> Sequence[Record]:
        return self.topics.get(topic, []) if partition == 0 else []

    def append(self, topic: str, message: Any) -> int:
        records = self.topics.setdefault(topic, [])
        offset = records[-1].offset + 1 if records else 0
        records.append(
            Record(topic=topic, partition=0, offset=offset, timestamp_ms=0, key=b"BTC", value=encode(message))
        )
        return offset

    def claim(self) -> "RunLog":
        epoch = self.append("orders", Claim(owner="replica"))
        self.append("decisions", Claim(owner="replica", epoch=epoch))
        return self

    def quote(self, mid: float) -> int:
        offset = len(self.topics.get("market", []))
        ts_recv = BEGIN_NS + offset * SECOND_NS
        return self.append(
            "market", Quote(instrument="BTC", ts_recv=ts_recv, bid=mid - 1, bid_size=1.0, ask=mid + 1, ask_size=1.0)
        )

    def order(self, order_id: str, seq: int, *, side: Any = "buy", bundle: str = OLD, epoch: int = 0) -> int:
        return self.append(
            "orders",
            Order(
                order_id=order_id,
                seq=seq,
                epoch=epoch,
                instrument="BTC",
                side=side,
                quantity=1.0,
                order_type="market",
                time_in_force="IOC",
                strategy="s",
                bundle_id=bundle,
                source=Source(topic="market", partition=0, offset=0),
                ts_decided=BEGIN_NS,
            ),
        )

    def fill(self, order_id: str, price: float, fee: float, *, side: Any = "buy", bundle: str = OLD) -> int:
        last = self.topics["market"][-1].offset
        return self.append(
            "reports",
            ExecutionReport(
                exec_id=f"e-{order_id}",
                order_id=order_id,
                instrument="BTC",
                ts_event=BEGIN_NS + last * SECOND_NS,
                side=side,
                strategy="s",
                bundle_id=bundle,
                status=ReportStatus.FILLED,
                report_seq=0,
                cumulative_quantity=1.0,
                average_price=price,
                cumulative_fee=fee,
                leaves_quantity=0.0,
                order=OrderPosition(partition=0, offset=1),
            ),
        )

    def activation(self, bundle: str, sha256: str) -> BundleActivated:
        return BundleActivated(offset=0, strategy="s", instrument="BTC", bundle_id=bundle, sha256=sha256)

    def step(self, *decisions: Decision, inputs: Sequence[Any] = (), skip: int = 0, epoch: int = 0) -> LoggedStep:
        """Append a step that reads all reports so far and as many market records as there are decisions."""
        if skip:
            inputs = (*inputs, MarketGap(market_from=self._market_to, market_to=self._market_to + skip))
        begin, self._market_to = self._market_to, self._market_to + skip + len(decisions)
        self._reports_to = len(self.topics.get("reports", []))
        logged = LoggedStep(
            step=Step(
                n=self._n,
                market_from=begin,
                market_to=self._market_to,
                clock_ns=BEGIN_NS,
                reports_to=self._reports_to,
                inputs=tuple(inputs),
            ),
            decisions=decisions,
        )
        self._n += 1
        self.batch(logged, epoch=epoch)
        return logged

    def batch(self, *steps: LoggedStep, epoch: int = 0) -> None:
        self.append("decisions", DecisionBatch(partition=0, epoch=epoch, logic_version=1, steps=steps))


def swapped_run() -> RunLog:
    """Old buys at 101 and holds while the mid goes 100 -> 110, new takes over, sells at 119, mid ends at 120.

    Old: +9 marked, less fee 0.5. New: from 110 to 119, less fee 0.25. In all 18 - 0.75.
    """
    log = RunLog().claim()
    log.quote(100.0)
    log.step(NOT_DUE, inputs=[log.activation(OLD, OLD_SHA)])
    log.quote(100.0)
    log.step(ORDER)
    log.order("o1", 0)
    log.fill("o1", 101.0, 0.5)
    log.quote(110.0)
    log.step(HOLD)
    log.quote(120.0)
    log.step(ORDER, inputs=[log.activation(NEW, NEW_SHA)])
    log.order("o2", 1, side="sell", bundle=NEW)
    log.fill("o2", 119.0, 0.25, side="sell", bundle=NEW)
    log.quote(120.0)
    log.step(DENIED)
    for sha256, swap_us in ((OLD_SHA, 900.0), (NEW_SHA, 40.0), (NEW_SHA, 60.0)):
        log.append(
            "status",
            Swapped(
                agent_id="x",
                partition=0,
                strategy="s",
                instrument="BTC",
                bundle_id=NEW if sha256 == NEW_SHA else OLD,
                sha256=sha256,
                n=3,
                market_from=3,
                ts=BEGIN_NS,
                swap_us=swap_us,
            ),
        )
    log.append(
        "training",
        TrainResult(
            run_id="run-1",
            ts=BEGIN_NS,
            outcome="published",
            bundle_id=NEW,
            sha256=NEW_SHA,
            uri="file:///x",
            figures={"pnl_bps": 3.5},
        ),
    )
    return log
