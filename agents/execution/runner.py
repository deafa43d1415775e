"""One owned shard, live: steps go in, orders go out with their log, then `decisions` and checkpoints follow.

`step` is synchronous: what it decides is queued for sending before it returns, and nothing is awaited in between. The
tasks behind it send in order, one batch in flight, so that a batch is never on the topic without the ones before it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from agents.execution.alerts import alert_of
from agents.execution.config import ExecutionConfig
from agents.execution.journal import MAX_PENDING_BYTES, Entry, Journal, entries_of, grouped
from agents.execution.ownership import Ownership, take_ownership
from agents.execution.recovery import Recovered, recover
from agents.execution.shard import Shard
from agents.execution.shard.checkpoint import checkpoint_of
from agents.execution.shard.hot_path import REFUSED
from agents.execution.shard_status import Latencies, status_of
from agents.lifecycle.dead_letters import LetterBox
from messages import (
    Alert,
    Bus,
    Checkpoint,
    Clock,
    LoggedStep,
    NewRecord,
    Order,
    Partition,
    Producer,
    Record,
    Step,
    encode,
)
from messages.codec import Headers
from messages.decisions import MAX_STEP_RECORDS, MarketGap, StepInput
from messages.orders import LOG_HEADER
from messages.status import ShardStatus
from messages.trace import trace_of

REPORTS_POLL_S = 30.0
GATHER_S = 0.005  # a fetch for each record would cost as much as a decision, while ticks are waiting
MAX_JOINED_BYTES = MAX_PENDING_BYTES  # of logs in one append: a single one may be as large
MAX_DEAD_BYTES = 8 * 2**20  # of dead letters that wait to be sent; no step is made beyond


class _Batch(Struct, frozen=True, kw_only=True):
    """The orders of step `n`; `log_bytes` is the size of the log that they carry."""

    n: int
    records: tuple[NewRecord, ...]
    log_bytes: int


class ShardRunner:
    """Owns one shard from Claim to release. Any error of its tasks ends it: recover with a new runner."""

    def __init__(
        self,
        shard: Shard,
        *,
        bus: Bus,
        clock: Clock,
        config: ExecutionConfig,
        owner: str,
        dead_letters: Producer,
        on_step: Callable[[LoggedStep, int], None] | None = None,
    ) -> None:
        self.shard = shard
        self._bus, self._clock, self._config, self._owner = bus, clock, config, owner
        self._side_producer = dead_letters
        self._on_step = on_step
        self._ownership: Ownership | None = None
        self._journal = Journal(partition=shard.partition, epoch=0, next_step=0)
        self._outbox: deque[_Batch] = deque()
        self._sending, self._stepped, self._flushing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        self._room = asyncio.Event()
        self._reports: deque[Record] = deque()
        self._dead = LetterBox(MAX_DEAD_BYTES)
        self._alerts: deque[Alert] = deque()
        self._orders_to = self._decisions_to = 0
        self._latencies = Latencies()
        self._control_logged_to = 0
        self._control_unlogged: deque[tuple[int, int]] = deque()  # (n, control_to) of steps with inputs
        self._snapshot: Checkpoint | None = None
        self._checkpointed_ns = 0
        self._checkpointed_to = 0
        self._is_released = False

    @property
    def epoch(self) -> int:
        """The epoch of this owner."""
        return self._owned.epoch

    @property
    def _owned(self) -> Ownership:
        if self._ownership is None:
            raise RuntimeError("the shard is not claimed yet; call recover first")
        return self._ownership

    async def recover(self) -> Recovered:
        """Claim the shard, rebuild its state from the log, and write on what stood only in headers of `orders`."""
        self._ownership = owned = await take_ownership(self._bus, self.shard.partition, self._owner)
        recovered = await recover(self._bus, self.shard, owned)
        self.shard.epoch = owned.epoch
        self._orders_to, self._decisions_to = owned.epoch + 1, owned.decisions_claim + 1
        self._journal = Journal(partition=self.shard.partition, epoch=owned.epoch, next_step=self.shard.n)
        for group in grouped(entries_of(recovered.unlogged)):
            await self._publish_decisions(group)
        self._control_logged_to = self.shard.control_to
        await self._write_checkpoint(self._take_snapshot())
        self._alert()  # the one before may have died before it could
        return recovered

    @property
    def has_room(self) -> bool:
        """Whether another step may be made: what waits to be sent and logged is bounded."""
        return len(self._outbox) < self._config.outbox and self._journal.has_room and self._dead.has_room

    @property
    def is_waiting(self) -> bool:
        """Whether time or a report could change something without any market record."""
        return bool(self._reports) or self.shard.has_open_orders

    def take_status(self) -> ShardStatus:
        """Return what a heartbeat tells of the shard; its counts begin anew."""
        return status_of(self.shard, self._latencies, logged_to=self._control_logged_to)

    async def wait_for_room(self) -> None:
        """Return when enough has been acknowledged for another step, or when the shard was released."""
        while not self.has_room and not self._is_released:
            self._room.clear()
            await self._room.wait()

    def step(self, market: Sequence[Record], inputs: Sequence[StepInput] = ()) -> None:
        """Make steps of these market records, which follow the last ones, and queue what they decide.

        Inputs go into the first step; without records there is one empty step.
        """
        chunks = _chunks(market, self.shard.market_to)
        for index, (gap, chunk) in enumerate(chunks):
            self._one_step(chunk, (*gap, *(inputs if index == 0 else ())))

    def _one_step(self, market: Sequence[Record], inputs: tuple[StepInput, ...]) -> None:
        started = self._clock.perf_ns()
        reports = tuple(self._reports)
        self._reports.clear()
        step = Step(
            n=self.shard.n,
            market_from=self.shard.market_to,
            market_to=_end_of(market, inputs, self.shard.market_to),
            clock_ns=max(self._clock.now_ns(), self.shard.clock_ns),
            reports_to=reports[-1].offset + 1 if reports else self.shard.reports_to,
            inputs=inputs,
        )
        logged = self.shard.step(step, market, reports)
        header = self._journal.add(logged)
        self._stepped.set()
        if header is not None:
            self._outbox.append(_Batch(n=step.n, records=_order_records(logged, header, market), log_bytes=len(header)))
            self._sending.set()
        took_ns = self._clock.perf_ns() - started
        if market:
            self._latencies.add(took_ns)
        if inputs:
            self._control_unlogged.append((step.n, self.shard.control_to))
        if self._on_step is not None:
            self._on_step(logged, took_ns)
        self._park(market, reports, logged)

    def _park(self, market: Sequence[Record], reports: Sequence[Record], logged: LoggedStep) -> None:
        """Queue dead letters; they go out before the step is flushed, so a crash can repeat but not lose one."""
        ts, agent_id = logged.step.clock_ns, self._owner
        for record, decision in zip(market, logged.decisions, strict=True):
            if decision is REFUSED and isinstance(reason := self.shard.read.market(record), str):
                self._dead.add(record, reason, agent_id=agent_id, ts=ts)
        for record in reports:
            if isinstance(report := self.shard.read.report(record), str):
                self._dead.add(record, report, agent_id=agent_id, ts=ts)
        self._alert()

    def _alert(self) -> None:
        """Queue what the shard has to tell: few, for each is a change that lasts a while."""
        self._alerts.extend(alert_of(notice, self.shard.partition, self._owner) for notice in self.shard.take_notices())

    async def send_orders(self) -> None:
        """Send queued batches in order until cancelled. Raises ProducerFenced, BusTimeout: then the shard is done.

        What waits is sent in one go: each step's first record still carries the log that explains it.
        """
        partition = Partition("orders", self.shard.partition)
        while True:
            await self._sending.wait()
            while self._outbox:
                joined = list(_joined(self._outbox))
                records = [record for batch in joined for record in batch.records]
                first = await self._owned.orders.publish_batch(partition, records)
                self._orders_to = first + len(records)
                for batch in joined:
                    self._journal.orders_acknowledged(batch.n)
                    self._outbox.popleft()
                self._stepped.set()
                self._room.set()
            self._sending.clear()

    async def read_reports(self) -> None:
        """Follow the shard's reports until cancelled; the next step applies them."""
        partition = Partition("reports", self.shard.partition)
        consumer = await self._bus.consumer(gather_s=GATHER_S)
        try:
            await consumer.assign({partition: self.shard.reports_to})
            while True:
                self._reports.extend(await consumer.poll(timeout_s=REPORTS_POLL_S))
        finally:
            await consumer.stop()

    async def flush_often(self) -> None:
        """Write `decisions` and checkpoints at most every flush interval, when there is something, until cancelled."""
        while True:
            await self._stepped.wait()
            self._stepped.clear()
            await self._clock.sleep(self._config.flush_interval_ms / 1000)
            await self.flush()

    async def flush(self) -> None:
        """Write alerts, dead letters, the steps whose orders are acknowledged, and a checkpoint that is due."""
        async with self._flushing:
            while self._alerts:
                alert = self._alerts[0]
                record = NewRecord(key=alert.alert_id.encode(), value=encode(alert))
                await self._side_producer.publish("risk", record)
                self._alerts.popleft()
            await self._dead.send(self._side_producer)
            self._room.set()
            for group in self._journal.flushable():
                await self._publish_decisions(group)
            await self._checkpoint()

    async def drain(self) -> None:
        """Return when all orders are acknowledged and all steps are on `decisions`, with a last checkpoint."""
        while self._outbox:
            self._room.clear()
            await self._room.wait()
        await self.flush()
        await self._write_checkpoint(self._take_snapshot())

    async def release(self) -> None:
        """Close the producers and let go whoever waits for room."""
        self._is_released = True
        self._room.set()
        if self._ownership is not None:
            await self._ownership.release()

    async def _publish_decisions(self, entries: Sequence[Entry]) -> None:
        record = NewRecord(value=self._journal.batch(entries))
        offset = await self._owned.log.publish("decisions", record, partition=self.shard.partition)
        self._decisions_to = offset + 1
        self._journal.decisions_acknowledged(entries[-1].n)
        while self._control_unlogged and self._control_unlogged[0][0] <= entries[-1].n:
            self._control_logged_to = self._control_unlogged.popleft()[1]
        self._room.set()

    async def _checkpoint(self) -> None:
        if self._snapshot is None and self._is_due():
            self._snapshot = self._take_snapshot()
        if self._snapshot is not None and self._is_logged(self._snapshot.n):
            snapshot, self._snapshot = self._snapshot, None
            await self._write_checkpoint(snapshot)

    def _is_due(self) -> bool:
        elapsed_ns = self._clock.now_ns() - self._checkpointed_ns
        return (
            elapsed_ns >= self._config.checkpoint_interval_ms * 1_000_000
            or self.shard.market_to - self._checkpointed_to >= self._config.checkpoint_records
        )

    def _is_logged(self, n: int) -> bool:
        """Whether all steps below `n` are on `decisions`."""
        return self._journal.first_pending(default=n) >= n

    def _take_snapshot(self) -> Checkpoint:
        """The tails begin where this owner's acknowledged records end now: later steps are all behind that."""
        self._checkpointed_ns, self._checkpointed_to = self._clock.now_ns(), self.shard.market_to
        return checkpoint_of(self.shard, orders_to=self._orders_to, decisions_to=self._decisions_to)

    async def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        record = NewRecord(key=str(self.shard.partition).encode(), value=encode(checkpoint))
        await self._owned.log.publish("checkpoints", record, partition=self.shard.partition)


def _joined(outbox: Iterable[_Batch]) -> Iterator[_Batch]:
    """Yield the first batch, and those behind it that may go with it."""
    log_bytes = records = 0
    for batch in outbox:
        log_bytes, records = log_bytes + batch.log_bytes, records + len(batch.records)
        if records > len(batch.records) and (log_bytes > MAX_JOINED_BYTES or records > MAX_STEP_RECORDS * 4):
            return
        yield batch


def _chunks(market: Sequence[Record], market_to: int) -> list[tuple[tuple[MarketGap, ...], Sequence[Record]]]:
    """Cut records into steps of at most MAX_STEP_RECORDS, a new one wherever offsets are missing before it."""
    if not market:
        return [((), ())]
    if len(market) <= MAX_STEP_RECORDS and (market[0].offset, market[-1].offset + 1) == (
        market_to,
        market_to + len(market),
    ):
        return [((), market)]  # nearly always
    chunks: list[tuple[tuple[MarketGap, ...], Sequence[Record]]] = []
    start, expected = 0, market_to
    gap: tuple[MarketGap, ...] = ()
    for index, record in enumerate(market):
        if record.offset != expected or index - start == MAX_STEP_RECORDS:
            if index > start:
                chunks.append((gap, market[start:index]))
            start = index
            gap = (MarketGap(market_from=expected, market_to=record.offset),) if record.offset != expected else ()
        expected = record.offset + 1
    chunks.append((gap, market[start:]))
    return chunks


def _end_of(market: Sequence[Record], inputs: Sequence[StepInput], market_to: int) -> int:
    if market:
        return market[-1].offset + 1
    return max((gap.market_to for gap in inputs if isinstance(gap, MarketGap)), default=market_to)


def _order_records(logged: LoggedStep, header: bytes, market: Sequence[Record]) -> tuple[NewRecord, ...]:
    """The log goes on the first; the trace context of the market record that caused an order goes on with it."""
    log: Headers = ((LOG_HEADER, header),)
    records = []
    for order in logged.orders:
        trace = trace_of(market[order.source.offset - market[0].offset].headers) if isinstance(order, Order) else ()
        records.append(NewRecord(key=order.instrument.encode(), value=encode(order), headers=log + trace))
        log = ()
    return tuple(records)
