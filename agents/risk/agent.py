"""The Risk agent: watches the portfolio, publishes what it sees, halts on `control`."""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from agents.errors import SettingsError
from agents.lifecycle.status import beat
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
from messages.control import PORTFOLIO, ControlMessage
from messages.control_fold import ControlFold, HaltInForce

_CONTROL = Partition("control", 0)
_RISK = Partition("risk", 0)


class _Clients(Struct, frozen=True, kw_only=True):
    consumer: Consumer
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
        self._clients = _Clients(consumer=await self._bus.consumer(), producer=await self._bus.producer())
        await self._clients.consumer.assign(await self._catch_up(self._clients))
        await self._watch_limits(self._clients)
        self._supervisor.spawn(
            beat(self._clients.producer, self._clock, self._heartbeat), f"{self._agent_id}-heartbeat"
        )

    async def run(self) -> None:
        if self._clients is not None:
            self._supervisor.spawn(self._watch(self._clients), f"{self._agent_id}-watch")
            self._supervisor.spawn(self._publish_regularly(self._clients), f"{self._agent_id}-snapshots")
        await self._supervisor.wait()

    async def stop(self) -> None:
        await self._supervisor.stop()
        if self._clients is not None:
            clients, self._clients = self._clients, None
            await self._publish_snapshot(clients)
            await clients.consumer.stop()
            await clients.producer.stop()

    async def _catch_up(self, clients: _Clients) -> dict[Partition, int]:
        """Rebuild control, books and marks from the topics; return where live reading begins."""
        numbers = range(await self._bus.partition_count("reports"))
        reports = [Partition("reports", number) for number in numbers]
        market = [Partition("market", number) for number in numbers]
        everything = [_CONTROL, _RISK, *reports, *market]
        begins = await clients.consumer.beginning_offsets(everything)
        ends = await clients.consumer.end_offsets(everything)
        tails = {p: (max(begins[p], ends[p] - self._config.market_tail_records), ends[p]) for p in market}
        control = await read_range(self._bus, {_CONTROL: (begins[_CONTROL], ends[_CONTROL])})
        # What was told before the restart is told already, wherever it stands.
        self._told = {m.reason for m in map(_decoded, control) if isinstance(m, Halt) and m.writer == self._agent_id}
        for record in control:
            await self._on_control(clients, record)
        for record in await read_range(self._bus, {p: (begins[p], ends[p]) for p in reports}):
            await self._on_report(clients, record)
        for record in await read_range(self._bus, tails):
            self._on_market(record)
        for record in await read_range(self._bus, {_RISK: (begins[_RISK], ends[_RISK])}):
            snapshot = _decoded(record)
            if isinstance(snapshot, RiskSnapshot) and snapshot.scope == PORTFOLIO:
                self._portfolio.resume_from(snapshot)
        return {p: ends[p] for p in [_CONTROL, *reports, *market]}

    async def _watch(self, clients: _Clients) -> None:
        while True:
            for record in await clients.consumer.poll(max_records=self._config.batch_records):
                match record.topic:
                    case "market":
                        self._on_market(record)
                    case "reports":
                        await self._on_report(clients, record)
                    case _:
                        await self._on_control(clients, record)
            await self._watch_limits(clients)

    async def _publish_regularly(self, clients: _Clients) -> None:
        while True:
            await self._publish_snapshot(clients)
            await self._clock.sleep(self._config.snapshot_interval_ms / 1_000)
            await self._watch_limits(clients)

    async def _publish_snapshot(self, clients: _Clients) -> None:
        self._portfolio.observe(self._clock.now_ns())
        snapshot = self._portfolio.snapshot(self._clock.now_ns())
        if self._published is not None and replace(snapshot, ts=self._published.ts) == self._published:
            return
        await clients.producer.publish("risk", NewRecord(key=snapshot.scope.encode(), value=encode(snapshot)))
        self._published = snapshot

    def _on_market(self, record: Record) -> None:
        tick = _decoded(record)
        if isinstance(tick, Quote | Trade | Bar | Observation):
            self._portfolio.apply_tick(tick, self._clock.now_ns())

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
            self._portfolio.limits = self._limits.portfolio

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
        if breach.level is not None and not any(
            halt.scope == scope and halt.level == breach.level for halt in self._own_halts()
        ):
            halt = Halt(scope=scope, level=breach.level, writer=self._agent_id, reason=_reason(breach), ts=now_ns)
            await clients.producer.publish("control", NewRecord(key=control_key(halt).encode(), value=encode(halt)))
        alert = Alert(
            alert_id=f"{self._agent_id}/{breach.code}/{breach.instrument or PORTFOLIO}/{now_ns}",
            ts=now_ns,
            agent_id=self._agent_id,
            severity="warning" if breach.level is None else "critical",
            code=breach.code,
            text=breach.text,
            instrument=breach.instrument,
        )
        await clients.producer.publish("risk", NewRecord(key=alert.alert_id.encode(), value=encode(alert)))

    def _own_halts(self) -> list[HaltInForce]:
        return [halt for halt in self._control.halts.in_force() if halt.writer == self._agent_id]

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(agent_id=self._agent_id, agent="risk", ts=self._clock.now_ns(), state="live")


def _reason(breach: Breach) -> str:
    return f"{breach.code} {breach.text}"


def _decoded(record: Record) -> object:
    """Return the message; None where there is none: whoever the topic belongs to parks it."""
    try:
        message: object = decode(record.topic, record.value, record.headers)
    except Refused:
        return None
    return message
