"""Messages, records and bundles with sensible defaults, for tests that care about one field."""

from pathlib import Path
from typing import Any

from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import Policy, ServingBundle, ShardConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from bundles.actions import ActionMapping
from bundles.features import Feature, FeatureSpec, Floats32, Observer
from messages import ExecutionReport, LogStarted, Order, Quote, Record, ReportStatus, Step, encode
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from messages.orders import Source
from messages.reports import OrderPosition

SECOND = 1_000_000_000
START_NS = 1_000 * SECOND
DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
X = Instrument(instrument="X", price_step=0.5, quantity_step=1.0)
ONE_FEATURE = FeatureSpec(features=(Feature(name="spread"),))


class Scripted:
    """A policy that answers what it is told, in turn, then the last for ever. None raises."""

    def __init__(self, *answers: float | Exception) -> None:
        self._answers = list(answers)

    def act(self, observation: Floats32) -> tuple[float, ...]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return (answer,)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


def bundle(policy: Policy, *, sha256: str = DIGEST, **actions: Any) -> ServingBundle:
    mapping: dict[str, Any] = {"kind": "levels", "max_position": 3.0} | actions
    return ServingBundle(
        strategy="s",
        bundle_id=f"bundle-{sha256[:4]}",
        sha256=sha256,
        policy=policy,
        observer=Observer(ONE_FEATURE),
        actions=ActionMapping(**mapping),
    )


def shard(*bundles: ServingBundle, limits: dict[str, Any] | None = None, **decisions: Any) -> Shard:
    config = ShardConfig(
        partition=0,
        instruments={"X": X},
        strategies={"X": "s"},
        decisions=DecisionConfig(**({"conflate": False} | decisions)),
    )
    defaults = {"duplicate_window_ms": 0} | (limits or {})
    return Shard(
        config,
        limits=Limits.convert({"defaults": defaults}),
        bundles={bundle.sha256: bundle for bundle in bundles},
        partitions=1,
    )


def quote(bid: float = 100.0, ask: float = 100.5, *, size: float = 5.0, ts_recv: int = START_NS) -> Quote:
    return Quote(instrument="X", ts_recv=ts_recv, bid=bid, bid_size=size, ask=ask, ask_size=size)


def record(
    message: Any, offset: int, *, topic: str = "market", key: bytes | None = b"X", at_ns: int = START_NS
) -> Record:
    value = message if isinstance(message, bytes) else encode(message)
    return Record(topic=topic, partition=0, offset=offset, timestamp_ms=at_ns // 1_000_000, key=key, value=value)


def step_of(
    target: Shard, market: list[Record], *inputs: StepInput, reports: list[Record] | None = None, at_ns: int = START_NS
) -> Step:
    return Step(
        n=target.n,
        market_from=target.market_to,
        market_to=market[-1].offset + 1 if market else target.market_to,
        clock_ns=max(at_ns, target.clock_ns),
        reports_to=reports[-1].offset + 1 if reports else target.reports_to,
        inputs=inputs,
    )


def activated(sha256: str = DIGEST, *, offset: int = 5) -> BundleActivated:
    return BundleActivated(offset=offset, strategy="s", instrument="X", bundle_id=f"bundle-{sha256[:4]}", sha256=sha256)


def ready_inputs() -> tuple[StepInput, ...]:
    """What makes a fresh shard trade: a log id, Risk alive, an active bundle."""
    return (ControlApplied(offset=0, message=LogStarted(log_id="L")), RiskAlive(alive=True), activated())


def report(
    order: Order,
    *,
    offset: int = 0,
    at: int = 1,
    status: ReportStatus = ReportStatus.FILLED,
    filled: float | None = None,
) -> ExecutionReport:
    """A report on an order whose record stands at the offset `at`."""
    quantity = order.quantity if filled is None else filled
    return ExecutionReport(
        exec_id=f"{order.order_id}-{offset}",
        order_id=order.order_id,
        instrument=order.instrument,
        ts_event=START_NS,
        side=order.side,
        strategy=order.strategy,
        bundle_id=order.bundle_id,
        status=status,
        report_seq=offset,
        cumulative_quantity=quantity,
        average_price=100.0,
        cumulative_fee=0.0,
        leaves_quantity=order.quantity - quantity,
        order=OrderPosition(partition=0, offset=at),
    )


def source(offset: int = 0) -> Source:
    return Source(topic="market", partition=0, offset=offset)


def data_dir() -> Path:
    """Where real market data lie, if anywhere: TICKPILOT_DATA, or ../shared/data beside the checkout."""
    import os

    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("TICKPILOT_DATA", root.parent / "shared" / "data"))
