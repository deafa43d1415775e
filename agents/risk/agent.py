"""The Risk agent: watches the portfolio, publishes what it sees, halts on `control`."""

from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from agents.errors import SettingsError
from agents.lifecycle.status import beat, publish_at_last
from agents.lifecycle.supervisor import Supervisor
from agents.risk.config import RiskConfig
from agents.risk.instruments import Instrument
from agents.risk.ledger import Ledger
from agents.risk.limits import Limits
from agents.risk.portfolio import Breach, Portfolio
from messages import (
    Adjust,
    Alert,
    Bar,
    Bus,
    Clock,
    Consumer,
    ExecutionReport,
    Halt,
    Heartbeat,
    NewRecord,
    Observation,
    Partition,
    Producer,
    Quote,
    Record,
    Refused,
    Resume,
    RiskSnapshot,
    Trade,
    control_key,
    decode,
    encode,
)
from messages import Limits as LimitsMessage
from messages.bus.reading import read_range
from messages.control import PORTFOLIO, ControlMessage, HaltLevel
from messages.control_fold import ControlFold, HaltInForce

_CONTROL = Partition("control", 0)
_IDLE_POLL_S = 30.0
_RISK = Partition("risk", 0)


class _Clients(Struct, frozen=True, kw_only=True):
    events: Consumer  # control and reports
    market: Consumer
    producer: Producer


class RiskAgent:
    """One portfolio over all partitions; run one. `cash`: what the portfolio started with, in the currency.

    A limit that is passed gives one Alert, and a Halt where the limit asks for it; both come again only after the
    figure was back inside. When somebody resumes what Risk has halted, losses count anew from there.
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
        self._passed: set[tuple[str, str | None]] = set()
        self._told: set[str] = set()
        self._halting: set[tuple[str, HaltLevel]] = set()  # written, not yet read back
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
            finally:
                await clients.events.stop()
                await clients.market.stop()
                await clients.producer.stop()

    async def _catch_up(self, clients: _Clients) -> None:
        """Rebuild control, books and marks from the topics, and read on from there."""
        numbers = range(await self._bus.partition_count("reports"))
        reports = [Partition("reports", number) for number in numbers]
        market = [Partition("market", number) for number in numbers]
        everything = [_CONTROL, _RISK, *reports, *market]
        begins = await clients.events.beginning_offsets(everything)
        ends = await clients.events.end_offsets(everything)
        tails = {p: (max(begins[p], ends[p] - self._config.market_tail_records), ends[p]) for p in market}
        control = await read_range(self._bus, {_CONTROL: (begins[_CONTROL], ends[_CONTROL])})
        # What was told before the restart is told already, wherever it stands.
        self._told = {m.reason for m in map(_decoded, control) if isinstance(m, Halt) and m.writer == self._agent_id}
        last = _last_snapshot(await read_range(self._bus, {_RISK: (begins[_RISK], ends[_RISK])}))
        seen = 0 if last is None or last.control_offset is None else last.control_offset
        for record in control:
            if record.offset < seen:
                await self._on_control(clients, record)
        for record in await read_range(self._bus, {p: (begins[p], ends[p]) for p in reports}):
            await self._on_report(clients, record)
        self._on_market(await read_range(self._bus, tails))
        if last is not None:
            self._portfolio.resume_from(last)
        # What came while nobody watched moves peak and start of the day as if it came now.
        for record in control:
            if record.offset >= seen:
                await self._on_control(clients, record)
        await clients.events.assign({p: ends[p] for p in [_CONTROL, *reports]})
        await clients.market.assign({p: ends[p] for p in market})

    async def _watch_events(self, clients: _Clients) -> None:
        while True:
            records = await clients.events.poll(max_records=self._config.batch_records, timeout_s=_IDLE_POLL_S)
            for record in records:
                if record.topic == "reports":
                    await self._on_report(clients, record)
                else:
                    await self._on_control(clients, record)
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
            await self._clock.sleep(self._config.snapshot_interval_ms / 1_000)
            await self._watch_limits(clients)

    async def _publish_snapshot(self, clients: _Clients, *, is_last: bool = False) -> None:
        now_ns = self._clock.now_ns()
        self._portfolio.observe(now_ns)
        snapshot = self._portfolio.snapshot(now_ns, self._control.next_offset)
        known = self._published
        if is_last or known is None or replace(snapshot, ts=known.ts) != known:
            await clients.producer.publish("risk", NewRecord(key=snapshot.scope.encode(), value=encode(snapshot)))
            self._published = snapshot

    def _on_market(self, records: Sequence[Record]) -> None:
        """Mark each instrument by its newest record that has a price; older ones are not even decoded."""
        now_ns = self._clock.now_ns()
        marked: set[bytes | None] = set()
        for record in reversed(records):
            if record.key not in marked:
                tick = _decoded(record)
                if (
                    isinstance(tick, Quote | Trade | Bar | Observation)
                    and tick.instrument.encode() == record.key  # else it is no good record, and Execution parks it
                    and self._portfolio.apply_tick(tick, now_ns)
                ):
                    marked.add(record.key)

    async def _on_report(self, clients: _Clients, record: Record) -> None:
        try:
            report = decode(record.topic, record.value, record.headers)
            if isinstance(report, ExecutionReport):
                self._portfolio.apply_report(report)
        except Refused as error:
            name = (record.key or b"").decode(errors="replace")
            await self._cannot_book(clients, record, error, name if name in self._instruments else None)

    async def _on_control(self, clients: _Clients, record: Record) -> None:
        message = _decoded(record)
        if not isinstance(message, ControlMessage):
            return
        before = self._own_halts()
        is_valid = self._control.apply(record.offset, message)
        if isinstance(message, Halt) and message.writer == self._agent_id:
            self._told.add(message.reason)
            self._halting.discard((message.scope, message.level))
        elif isinstance(message, Resume) and len(self._own_halts()) < len(before):
            self._portfolio.rebase()
        elif is_valid and isinstance(message, Adjust | LimitsMessage):
            try:
                self._correct(message)
            except (Refused, SettingsError) as error:
                await self._cannot_book(clients, record, error, None)

    def _correct(self, message: Adjust | LimitsMessage) -> None:
        if isinstance(message, Adjust):
            self._portfolio.apply_adjust(message)
        else:
            self._limits = self._limits.changed(message.changes)
            self._portfolio.set_limits(self._limits.portfolio)

    async def _cannot_book(self, clients: _Clients, record: Record, error: Exception, instrument: str | None) -> None:
        """Halt what may be wrong now. Read again after a restart, the same record doesn't halt anew."""
        code = "BAD_REPORT" if record.topic == "reports" else "BAD_CONTROL"
        breach = Breach(
            code=code,
            text=f"{record.topic}-{record.partition}@{record.offset}: {error}",
            level="halted" if record.topic == "reports" else "reducing",
            instrument=instrument,
        )
        if _reason(breach) not in self._told:
            await self._tell(clients, breach)

    async def _watch_limits(self, clients: _Clients) -> None:
        now_ns = self._clock.now_ns()
        self._portfolio.observe(now_ns)
        breaches = self._portfolio.breaches(now_ns)
        fresh = [breach for breach in breaches if (breach.code, breach.instrument) not in self._passed]
        self._passed = {(breach.code, breach.instrument) for breach in breaches}
        for breach in fresh:
            await self._tell(clients, breach)

    async def _tell(self, clients: _Clients, breach: Breach) -> None:
        """Halt first, then say why."""
        now_ns = self._clock.now_ns()
        scope = PORTFOLIO if breach.instrument is None else f"instrument:{breach.instrument}"
        in_force = {(halt.scope, halt.level) for halt in self._own_halts()} | self._halting
        if breach.level is not None and (scope, breach.level) not in in_force:
            self._halting.add((scope, breach.level))
            halt = Halt(scope=scope, level=breach.level, writer=self._agent_id, reason=_reason(breach), ts=now_ns)
            record = NewRecord(key=control_key(halt).encode(), value=encode(halt))
            await publish_at_last(clients.producer, self._clock, "control", record)
        alert = Alert(
            alert_id=f"{self._agent_id}/{breach.code}/{breach.instrument or PORTFOLIO}/{now_ns}",
            ts=now_ns,
            agent_id=self._agent_id,
            severity="warning" if breach.level is None else "critical",
            code=breach.code,
            text=breach.text,
            instrument=breach.instrument,
        )
        record = NewRecord(key=alert.alert_id.encode(), value=encode(alert))
        await publish_at_last(clients.producer, self._clock, "risk", record)

    def _own_halts(self) -> list[HaltInForce]:
        return [halt for halt in self._control.halts.in_force() if halt.writer == self._agent_id]

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(agent_id=self._agent_id, agent="risk", ts=self._clock.now_ns(), state="live")


def _reason(breach: Breach) -> str:
    return f"{breach.code} {breach.text}"


def _last_snapshot(records: Sequence[Record]) -> RiskSnapshot | None:
    snapshots = [m for m in map(_decoded, records) if isinstance(m, RiskSnapshot) and m.scope == PORTFOLIO]
    return snapshots[-1] if snapshots else None


def _decoded(record: Record) -> object:
    """Return the message; None where there is none: whoever the topic belongs to parks it."""
    try:
        message: object = decode(record.topic, record.value, record.headers)
    except Refused:
        return None
    return message
