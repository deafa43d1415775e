"""Decisions on made-up ticks, so that the next real one finds the processor warm.

Where a feed is sparse, the processor has forgotten the code of a decision when the next tick comes: it takes five times
as long then. A rehearsal makes steps on a shard of its own, which nobody reads and nothing leaves: by the policy and by
hand in turn, so that the path of an order stays warm, too.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from prometheus_client import Counter

from agents.execution.config import ExecutionConfig
from agents.execution.journal import Journal
from agents.execution.scope import Scope, shard_of
from agents.execution.shard import Shard
from agents.execution.shard.desk import Desk
from agents.execution.shard.step import ServingBundle
from agents.lifecycle.metrics import REGISTRY
from messages import (
    Clock,
    ExecutionReport,
    LogStarted,
    Order,
    Quote,
    Record,
    ReportStatus,
    Step,
    VirtualClock,
    encode,
)
from messages.decisions import BundleActivated, ControlApplied, RiskAlive, StepInput
from messages.reports import OrderPosition

KEEP_WARM_SECONDS = Counter(
    "tickpilot_keep_warm_seconds", "Processor time spent on rehearsed decisions.", registry=REGISTRY
)
_BEAT_NS = 10_000_000_000  # of its own clock: no window of the gate ever fills
_TICKS = 10_000
_AFTER_TICKS = 3  # intervals


class Rehearsal:
    """Rehearses the decisions of one live shard; made anew when other bundles become active there."""

    def __init__(
        self,
        live: Shard,
        scope: Scope,
        config: ExecutionConfig,
        bundles: Mapping[str, ServingBundle],
        *,
        partitions: int,
    ) -> None:
        self.active = active_in(live)
        self._shard = shard_of(scope, live.partition, partitions, config, bundles)
        self._journal = Journal(partition=live.partition, epoch=0, next_step=0)
        self._reports: list[Record] = []
        served = [(name, bundles[digest]) for name, digest in self.active if digest in bundles]
        self._ticks = [_quote(self._shard.desks[name], live.desks[name]) for name, _ in served]
        inputs: list[StepInput] = [ControlApplied(offset=0, message=LogStarted(log_id="rehearsal"))]
        inputs.append(RiskAlive(alive=True))
        for offset, (name, bundle) in enumerate(served, start=1):
            inputs.append(
                BundleActivated(
                    offset=offset,
                    strategy=bundle.strategy,
                    instrument=name,
                    bundle_id=bundle.bundle_id,
                    sha256=bundle.sha256,
                )
            )
        self._step((), tuple(inputs))

    def once(self, clock: Clock) -> None:
        """Make one decision, and book the report of the order before."""
        if not self._ticks:
            return
        began_ns = clock.perf_ns()
        tick = self._ticks[self._shard.n % len(self._ticks)]
        desk = self._shard.desks[tick.instrument]
        desk.quotes_waited = 1_000_000  # whatever the policy's interval, it is asked
        turn = self._shard.n // len(self._ticks) % 4
        desk.override_lots = None if turn % 2 else turn // 2
        now_ns = self._shard.clock_ns + _BEAT_NS
        record = Record(
            topic="market",
            partition=self._shard.partition,
            offset=self._shard.market_to,
            timestamp_ms=now_ns // 1_000_000,
            key=tick.instrument.encode(),
            value=encode(msgspec.structs.replace(tick, ts_recv=now_ns)),
        )
        self._step((record,), ())
        KEEP_WARM_SECONDS.inc((clock.perf_ns() - began_ns) / 1e9)

    def _step(self, market: tuple[Record, ...], inputs: tuple[StepInput, ...]) -> None:
        shard, reports = self._shard, self._reports
        step = Step(
            n=shard.n,
            market_from=shard.market_to,
            market_to=shard.market_to + len(market),
            clock_ns=shard.clock_ns + _BEAT_NS,
            reports_to=shard.reports_to + len(reports),
            inputs=inputs,
        )
        logged = shard.step(step, market, reports)
        if self._journal.add(logged) is not None:
            self._journal.orders_acknowledged(step.n)
        self._journal.decisions_acknowledged(step.n)
        self._reports = [self._answer(order) for order in logged.orders if isinstance(order, Order)]

    def _answer(self, order: Order) -> Record:
        """The order as it would be sent, and the record that reports its fill."""
        encode(order)
        report = ExecutionReport(
            exec_id=order.order_id,
            order_id=order.order_id,
            instrument=order.instrument,
            ts_event=order.ts_decided,
            side=order.side,
            strategy=order.strategy,
            bundle_id=order.bundle_id,
            status=ReportStatus.FILLED,
            report_seq=0,
            cumulative_quantity=order.quantity,
            average_price=self._shard.desks[order.instrument].instrument.price(_TICKS),
            cumulative_fee=0.0,
            leaves_quantity=0.0,
            order=OrderPosition(partition=self._shard.partition, offset=order.seq),
        )
        return Record(
            topic="reports",
            partition=self._shard.partition,
            offset=self._shard.reports_to,
            timestamp_ms=0,
            key=order.instrument.encode(),
            value=encode(report),
        )


async def keep_warm(
    clock: Clock,
    config: ExecutionConfig,
    idle_shard: Callable[[], Shard | None],
    rehearsal_of: Callable[[Shard], Rehearsal],
) -> None:
    """Rehearse after each interval in which nothing came, until cancelled; after one with a tick the next is longer.

    In a feed so dense that ticks come within that, each keeps the processor warm for the next. Virtual time says
    nothing of the processor: on such a clock never.
    """
    if config.keep_warm_ms == 0 or isinstance(clock, VirtualClock):
        await asyncio.get_running_loop().create_future()
    rehearsed: tuple[Shard, Rehearsal] | None = None
    intervals = 1
    while True:
        if config.busy_poll:
            await _poll(clock, intervals * config.keep_warm_ms * 1_000_000)
        else:
            await clock.sleep(intervals * config.keep_warm_ms / 1000)
        if (shard := idle_shard()) is None:
            intervals = _AFTER_TICKS
            continue
        intervals = 1
        if rehearsed is None or rehearsed[0] is not shard or rehearsed[1].active != active_in(shard):
            rehearsed = shard, rehearsal_of(shard)
        rehearsed[1].once(clock)


async def _poll(clock: Clock, duration_ns: int) -> None:
    """Let the loop turn without a pause, so that the processor stays awake."""
    until_ns = clock.perf_ns() + duration_ns
    while clock.perf_ns() < until_ns:  # noqa: ASYNC110 - not to sleep is the point
        await asyncio.sleep(0)


def active_in(shard: Shard) -> tuple[tuple[str, str], ...]:
    """Return the instruments that a bundle trades, and its digest."""
    return tuple((name, desk.active.sha256) for name, desk in shard.desks.items() if desk.active is not None)


def _quote(desk: Desk, live: Desk) -> Quote:
    """A quote at the prices of today, or anywhere while there are none."""
    bid = live.bid_ticks or _TICKS
    ask = max(live.ask_ticks or 0, bid + 1)
    price = desk.instrument.price
    return Quote(
        instrument=desk.instrument.instrument, ts_recv=0, bid=price(bid), bid_size=1.0, ask=price(ask), ask_size=1.0
    )
