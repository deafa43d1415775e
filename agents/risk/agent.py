"""The Risk agent: watches the portfolio, publishes what it sees, halts on `control`."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from agents.errors import SettingsError
from agents.lifecycle.status import beat
from agents.lifecycle.supervisor import Supervisor
from agents.risk.config import RiskConfig
from agents.risk.instruments import Instrument
from agents.risk.ledger import BadReport, Ledger
from agents.risk.limits.file import Limits
from agents.risk.watch.catch_up import CONTROL, Mark, Past, lost_before, mark_in, read_past
from agents.risk.watch.checkpoint import checkpoint_of
from agents.risk.watch.crossings import LOSSES, Breach, Crossings
from agents.risk.watch.execution_check import ExecutionCheck
from agents.risk.watch.herald import Herald
from agents.risk.watch.portfolio import Portfolio
from agents.risk.watch.share_moves import ShareMoves
from messages import (
    Adjust,
    Bus,
    Clock,
    Consumer,
    ExecutionReport,
    Halt,
    Heartbeat,
    NewRecord,
    Partition,
    Producer,
    Record,
    Refused,
    Resume,
    RiskSnapshot,
    control_key,
    decode,
    encode,
)
from messages import Limits as LimitsMessage
from messages.bus.partitioner import partition_of
from messages.bus.reading import message_in
from messages.control import PORTFOLIO, ControlMessage
from messages.control_fold import ControlFold, HaltInForce

_STATUS = Partition("status", 0)
_IDLE_POLL_S = 30.0
_log = logging.getLogger(__name__)


class _Clients(Struct, frozen=True, kw_only=True):
    events: Consumer  # control, reports and status
    market: Consumer
    producer: Producer


class RiskAgent:
    """One portfolio over all partitions; run one. `cash`: what the portfolio started with, in the currency.

    A limit that is passed gives one Alert, and a Halt where the limit asks for it; another Alert when the figure is
    back inside. When somebody resumes what Risk has halted for a loss, losses count anew from there.
    """

    def __init__(
        self,
        *,
        config: RiskConfig,
        bus: Bus,
        clock: Clock,
        instruments: Mapping[str, Instrument],
        limits: Limits,
        cash: float,
        agent_id: str = "risk-1",
    ) -> None:
        self._config, self._bus, self._clock, self._limits = config, bus, clock, limits
        self._instruments = instruments
        self._agent_id = agent_id
        self._portfolio = Portfolio(instruments, limits.portfolio, cash=cash)
        self._control = ControlFold()
        self._crossings = Crossings(agent_id, config.alert_hold_ms)
        self._check = ExecutionCheck(instruments, limits.portfolio, shards=1)  # how many is known at the start
        self._shares = self._new_shares(1)
        self._reports_to: dict[int, int] = {}
        self._control_to = 0
        self._is_resumed = False
        self._checkpointed: tuple[int, int, dict[int, int]] = (0, 0, {})  # when (ns), and up to where
        self._herald = Herald(agent_id, clock)
        self._published: RiskSnapshot | None = None
        self._supervisor = Supervisor()
        self._clients: _Clients | None = None

    @property
    def agent_id(self) -> str:
        return self._agent_id

    @property
    def ledger(self) -> Ledger:
        """The portfolio's books."""
        return self._portfolio.ledger

    async def start(self) -> None:
        self._clients = _Clients(
            events=await self._bus.consumer(), market=await self._bus.consumer(), producer=await self._bus.producer()
        )
        await self._catch_up(self._clients)
        await self._watch_limits(self._clients)
        self._supervisor.spawn(
            beat(self._bus, self._clients.producer, self._clock, self._heartbeat, self._config.heartbeat_interval_ms),
            f"{self._agent_id}-heartbeat",
        )

    async def run(self) -> None:
        if self._clients is not None:
            for name, watch in (
                ("events", self._watch_events),
                ("market", self._watch_market),
                ("snapshots", self._publish_regularly),
            ):
                self._supervisor.keep(partial(watch, self._clients), f"{self._agent_id}-{name}", self._clock)
        await self._supervisor.wait()

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._clients is not None:
            clients, self._clients = self._clients, None
            try:
                await self._publish_snapshot(clients, is_last=True)
                await self._publish_checkpoint(clients)
            finally:
                await clients.events.stop()
                await clients.market.stop()
                await clients.producer.stop()

    async def _catch_up(self, clients: _Clients) -> None:
        """Rebuild control, books and marks from the topics, and read on from there."""
        past = await read_past(
            self._bus,
            clients.events,
            self._instruments,
            agent_id=self._agent_id,
            tail_records=self._config.market_tail_records,
            mark_interval_ms=self._config.snapshot_interval_ms,
        )
        self._check = ExecutionCheck(self._instruments, self._limits.portfolio, shards=len(past.reports_to))
        self._shares = self._new_shares(len(past.reports_to))
        self._check.begin(past.reports_to, past.control_to)
        self._herald.remember(m for m in map(message_in, past.control) if isinstance(m, Halt))
        self._crossings.restore(past.alerts)
        if past.state is not None:
            self._portfolio.restore(past.state)
        self._reports_to, self._control_to = dict(past.reports_to), past.control_to
        await self._live_through(clients, past)
        for text in past.lost:
            await self._tell_lost(clients, text)
        ends = {p: end for p, end in past.ends.items() if p.topic in {"control", "reports"}}
        status_end = await clients.events.end_offsets([_STATUS])
        await clients.events.assign(ends | status_end)
        await clients.market.assign({p: end for p, end in past.ends.items() if p.topic == "market"})
        await self._publish_checkpoint(clients)

    async def _live_through(self, clients: _Clients, past: Past) -> None:
        """Apply what happened. Up to the last snapshot, peak and start of the day are those that stand in it."""
        is_watched = past.snapshot is not None
        for ts_ns, event in past.in_order():
            match event:
                case RiskSnapshot():
                    self._portfolio.resume_from(event)
                    is_watched = False
                case Mark():
                    self._portfolio.mark(event.instrument, event.ticks, event.ts_ns)
                case Record(topic="reports"):
                    await self._on_report(clients, event)
                case Record():
                    await self._on_control(clients, event)
            if not is_watched:
                self._portfolio.observe(ts_ns)
        self._reports_to = {p.number: end for p, end in past.ends.items() if p.topic == "reports"}
        self._control_to = past.ends[CONTROL]

    async def _watch_events(self, clients: _Clients) -> None:
        while True:
            records = await clients.events.poll(max_records=self._config.batch_records, timeout_s=_IDLE_POLL_S)
            for record in records:
                if record.topic == "reports":
                    expected = self._reports_to[record.partition]
                    if (text := await lost_before(record, expected, clients.events, self._clock)) is not None:
                        await self._tell_lost(clients, text)
                    await self._on_report(clients, record)
                elif record.topic == "control":
                    await self._on_control(clients, record)
                elif isinstance(beat := message_in(record), Heartbeat):
                    self._check.hear(beat)
                    self._shares.hear(beat, self._clock.now_ns())
            if self._is_resumed:  # before anything else is told: a restart must know of it
                self._is_resumed = False
                await self._publish_snapshot(clients)
                await self._publish_checkpoint(clients)
            if records:
                await self._watch_limits(clients)

    async def _watch_market(self, clients: _Clients) -> None:
        while True:
            records = await clients.market.poll(max_records=self._config.batch_records, timeout_s=_IDLE_POLL_S)
            if records:
                self._on_market(records)
                await self._watch_limits(clients)
            if len(records) < self._config.batch_records:  # else there is more already
                await self._clock.sleep(self._config.market_interval_ms / 1_000)

    async def _publish_regularly(self, clients: _Clients) -> None:
        while True:
            await self._publish_snapshot(clients)
            if self._clock.now_ns() - self._checkpointed[0] >= self._config.checkpoint_interval_ms * 1_000_000:
                await self._publish_checkpoint(clients)
            await self._move_shares(clients)
            await self._clock.sleep(self._config.snapshot_interval_ms / 1_000)
            await self._watch_limits(clients)

    def _new_shares(self, partitions: int) -> ShareMoves:
        return ShareMoves(self._limits, self._instruments, self._config.shares, self._agent_id, partitions=partitions)

    async def _move_shares(self, clients: _Clients) -> None:
        move = self._shares.propose(self._clock.now_ns(), self._control.limits_version)
        if move is not None:
            await clients.producer.publish("control", NewRecord(key=control_key(move).encode(), value=encode(move)))

    async def _publish_snapshot(self, clients: _Clients, *, is_last: bool = False) -> None:
        now_ns = self._clock.now_ns()
        self._portfolio.observe(now_ns)
        snapshot = self._portfolio.snapshot(now_ns, self._control.next_offset)
        known = self._published
        if is_last or known is None or replace(snapshot, ts=known.ts) != known:
            await clients.producer.publish("risk", NewRecord(key=snapshot.scope.encode(), value=encode(snapshot)))
            self._published = snapshot

    async def _publish_checkpoint(self, clients: _Clients) -> None:
        """Write the books, if they may have changed since."""
        now_ns, known = self._clock.now_ns(), self._checkpointed[1:]
        read_to = (now_ns, self._control_to, dict(self._reports_to))
        if read_to[1:] != known:
            checkpoint = checkpoint_of(
                self._portfolio.state(),
                self._instruments,
                agent_id=self._agent_id,
                ts=now_ns,
                control_to=self._control_to,
                reports_to=[self._reports_to[number] for number in sorted(self._reports_to)],
            )
            record = NewRecord(key=f"checkpoint/{self._agent_id}".encode(), value=encode(checkpoint))
            try:
                await clients.producer.publish("risk", record)
            except Refused as error:  # too large: a restart reads more, and that is all
                _log.warning("no checkpoint: %s", error)
        self._checkpointed = read_to

    def _on_market(self, records: Sequence[Record]) -> None:
        """Mark each instrument by its newest record that has a price; older ones are not even decoded."""
        now_ns = self._clock.now_ns()
        marked: set[bytes | None] = set()
        for record in reversed(records):
            if record.key not in marked and (mark := mark_in(record, self._instruments)) is not None:
                self._portfolio.mark(mark.instrument, mark.ticks, now_ns)
                marked.add(record.key)

    async def _tell_lost(self, clients: _Clients, text: str) -> None:
        """Books that miss reports are no books: only exits pass until a person has compared and corrected them."""
        advice = "positions and money are a guess from here on; compare with the venue's, correct with Adjust, resume"
        breach = Breach(code="REPORTS_LOST", text=f"{text}; {advice}", level="reducing")
        await self._herald.tell_once(clients.producer, breach, self._own_halts())

    async def _on_report(self, clients: _Clients, record: Record) -> None:
        try:
            report = decode(record.topic, record.value, record.headers)
            if isinstance(report, ExecutionReport):
                self._book(report, record)
        except Refused as error:
            name = (record.key or b"").decode(errors="replace")
            await self._cannot_book(clients, record, error, name if name in self._instruments else None)
        self._reports_to[record.partition] = record.offset + 1

    def _book(self, report: ExecutionReport, record: Record) -> None:
        home = partition_of(report.instrument.encode(), len(self._reports_to))
        if record.partition != home:  # Execution doesn't book it either
            raise BadReport(f"report {report.exec_id}", f"{report.instrument} belongs to partition {home}")
        fill = self._portfolio.apply_report(report)
        if fill is not None:
            self._check.moved(fill.instrument, fill.lots, report=record.offset)

    async def _on_control(self, clients: _Clients, record: Record) -> None:
        message = message_in(record)
        if isinstance(message, ControlMessage):
            before = self._own_halts()
            is_valid = self._control.apply(record.offset, message)
            if isinstance(message, Halt):
                self._herald.heard(message)
            elif isinstance(message, Resume):
                in_force = self._own_halts()
                self._resumed([halt for halt in before if halt not in in_force])
            elif is_valid and isinstance(message, Adjust | LimitsMessage):
                try:
                    self._correct(record.offset, message)
                except (Refused, SettingsError) as error:
                    await self._cannot_book(clients, record, error, None)
        self._control_to = max(self._control_to, record.offset + 1)

    def _resumed(self, cleared: Sequence[HaltInForce]) -> None:
        """A person lets trading go on. Only after a loss that was halted for do losses count anew."""
        is_loss = any(halt.reason.split(" ")[0] in LOSSES for halt in cleared) or self._crossings.is_open(LOSSES)
        if is_loss and any(halt.scope == PORTFOLIO for halt in cleared):
            self._portfolio.rebase()
        if cleared:
            self._is_resumed = True
            self._crossings.resumed()
            self._herald.resumed(cleared)

    def _correct(self, offset: int, message: Adjust | LimitsMessage) -> None:
        if isinstance(message, LimitsMessage):
            if (error := self._shares.changed(offset, message)) is not None:
                raise error
            self._portfolio.set_limits(self._shares.limits.portfolio)
            self._check.limits = self._shares.limits.portfolio
        elif offset >= self._control_to:  # else it is in the checkpoint
            name = message.instrument
            before = 0 if name is None else self.ledger.position_lots(name)
            self._portfolio.apply_adjust(message)
            if name is not None:
                self._check.moved(name, self.ledger.position_lots(name) - before, control=offset)

    async def _cannot_book(self, clients: _Clients, record: Record, error: Exception, instrument: str | None) -> None:
        """Halt what may be wrong now."""
        code = "BAD_REPORT" if record.topic == "reports" else "BAD_CONTROL"
        breach = Breach(
            code=code,
            text=f"{record.topic}-{record.partition}@{record.offset}: {error}",
            level="halted" if record.topic == "reports" else "reducing",
            instrument=instrument,
        )
        await self._herald.tell_first(clients.producer, breach, self._own_halts())

    async def _watch_limits(self, clients: _Clients) -> None:
        now_ns = self._clock.now_ns()
        self._portfolio.observe(now_ns)
        self._check.compare(self.ledger, self._reports_to, self._control_to)
        passed = [*self._portfolio.breaches(now_ns), *self._check.breaches()]
        fresh, ended = self._crossings.take(passed, now_ns)
        for breach in fresh:
            await self._herald.tell(clients.producer, breach, self._own_halts())
        for alert in ended:
            await self._herald.publish(clients.producer, alert)

    def _own_halts(self) -> list[HaltInForce]:
        return [halt for halt in self._control.halts.in_force() if self._herald.is_own(halt)]

    def _heartbeat(self) -> Heartbeat:
        """Say whether Risk sees what happens: Execution takes only one that does for alive."""
        is_blind = any(client.state != "ok" for client in self._bus.health())
        state = "stalled" if is_blind else "live"
        return Heartbeat(agent_id=self._agent_id, agent="risk", ts=self._clock.now_ns(), state=state)
