"""The Orchestrator agent: accepts announced bundles, has them staged, and activates what every replica holds."""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

import msgspec

from agents.lifecycle.status import beat, publish_at_last
from agents.lifecycle.supervisor import Supervisor
from agents.orchestrator.config import OrchestratorConfig
from agents.orchestrator.fleet import Fleet
from agents.orchestrator.rollout import Candidate, RolloutState, Trigger, move
from bundles.errors import BundleRefused
from bundles.loader import verify_files
from bundles.manifest import Expectation, Manifest, bundle_id
from bundles.registry import read_files
from bundles.signing import TrustStore
from messages import (
    Activate,
    Alert,
    BundleReady,
    Bus,
    Clock,
    Consumer,
    Heartbeat,
    NewRecord,
    Producer,
    Record,
    Refused,
    RejectCode,
    Rejected,
    Rollout,
    control_key,
    decode,
    encode,
    status_key,
)
from messages.bus.reading import read_all
from messages.control import ControlMessage
from messages.control_fold import ControlFold

POLL_S = 30.0
READ_TIMEOUT_S = 30.0
_log = logging.getLogger(__name__)


class OrchestratorAgent:
    """Writes Rollout and Activate on `control`. `strategies` names the strategy of each instrument."""

    def __init__(
        self,
        *,
        config: OrchestratorConfig,
        bus: Bus,
        clock: Clock,
        strategies: Mapping[str, str],
        trust: TrustStore | None,
        allow_unsigned: bool = False,
        agent_id: str = "orchestrator-1",
    ) -> None:
        self._config, self._bus, self._clock, self._agent_id = config, bus, clock, agent_id
        self._strategies, self._trust, self._allow_unsigned = strategies, trust, allow_unsigned
        self._fold = ControlFold()
        self._fleet = Fleet(config.replica_timeout_ms)
        self._candidates: dict[str, Candidate] = {}
        self._live: dict[str, Candidate] = {}
        self._sequences: dict[str, int] = {}
        self._tasks = Supervisor()
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None

    @property
    def agent_id(self) -> str:
        return self._agent_id

    async def start(self) -> None:
        self._producer = await self._bus.producer()
        records, positions = await read_all(self._bus, ["control", "status", "bundles"])
        for record in records:
            if record.topic == "control":
                self._apply_control(record)
        announced = [record for record in records if record.topic == "bundles"]
        pending = self._resume(announced)
        self._consumer = await self._bus.consumer()
        await self._consumer.assign(positions)
        self._tasks.keep(partial(self._follow, self._consumer, pending), f"{self._agent_id}-follow", self._clock)
        self._tasks.spawn(
            beat(self._bus, self._producer, self._clock, self._heartbeat, self._config.heartbeat_interval_ms),
            f"{self._agent_id}-heartbeat",
        )

    async def _follow(self, consumer: Consumer, pending: list[Record]) -> None:
        await self._recall_sequences()
        while pending:
            await self._announced(pending[0])
            del pending[0]
        while True:
            for record in await consumer.poll(timeout_s=POLL_S):
                await self._take(record)
            await self._advance()

    async def run(self) -> None:
        await self._tasks.wait()

    async def stop(self) -> None:
        try:
            await self._tasks.stop()
            if self._consumer is not None:
                await self._consumer.stop()
        finally:
            if self._producer is not None:
                await self._producer.stop()

    def _resume(self, announced: list[Record]) -> list[Record]:
        """After a restart: what `control` rolled out was accepted; only what was announced later is looked at again."""
        pending: list[Record] = []
        for record in announced:
            ready = _read(record)
            rollout = self._fold.rollouts.get(ready.strategy) if isinstance(ready, BundleReady) else None
            if isinstance(ready, BundleReady) and rollout is not None and rollout.sha256 == ready.sha256:
                self._sequences[ready.strategy] = ready.sequence
                self._register(ready)
                pending = [other for other in pending if _strategy(other) != ready.strategy]
            else:
                pending.append(record)
        return pending

    async def _recall_sequences(self) -> None:
        """What was announced of a bundle may be forged: its sequence is what is signed, as far as it can be read."""
        for strategy, rollout in self._fold.rollouts.items():
            try:
                manifest = await self._verified(rollout.uri, rollout.sha256, Expectation(strategy=strategy))
            except BundleRefused as refusal:
                _log.warning("the sequence of bundle %s is taken from its announcement: %s", rollout.bundle_id, refusal)
            else:
                self._sequences[strategy] = manifest.sequence

    async def _take(self, record: Record) -> None:
        match record.topic:
            case "control":
                self._apply_control(record)
            case "status":
                message = _read(record)
                if message is not None:
                    self._fleet.apply(message, self._clock.now_ns())
            case _:
                await self._announced(record)

    def _apply_control(self, record: Record) -> None:
        message = _read(record)
        if isinstance(message, ControlMessage):
            self._fold.apply(record.offset, message)

    async def _announced(self, record: Record) -> None:
        ready = _read(record)
        if not isinstance(ready, BundleReady):
            return
        if (current := self._candidates.get(ready.strategy)) is not None and current.sha256 == ready.sha256:
            return
        try:
            await self._accept(ready)
        except BundleRefused as refusal:
            await self._refuse(ready, refusal.code, str(refusal))
            return
        self._sequences[ready.strategy] = ready.sequence
        self._register(ready)
        rollout = Rollout(
            strategy=ready.strategy,
            bundle_id=ready.bundle_id,
            uri=ready.uri,
            sha256=ready.sha256,
            expects=self._fold.last_offset(f"rollout/{ready.strategy}"),
            ts=self._clock.now_ns(),
            who=self._agent_id,
        )
        await self._write(rollout)

    async def _accept(self, ready: BundleReady) -> None:
        """Judge what only an announcement is judged by: expiry and sequence; and what is cheap to know early."""
        instruments = self._instruments(ready.strategy)
        if not instruments:
            raise BundleRefused(RejectCode.WRONG_STRATEGY, f"no instrument is traded by strategy {ready.strategy!r}")
        expected = Expectation(
            strategy=ready.strategy,
            instruments=instruments,
            now_ns=self._clock.now_ns(),
            min_sequence=self._sequences.get(ready.strategy, -1) + 1,
        )
        manifest = await self._verified(ready.uri, ready.sha256, expected)
        signed, announced = (manifest.sequence, bundle_id(manifest)), (ready.sequence, ready.bundle_id)
        if signed != announced:
            raise BundleRefused(
                RejectCode.BAD_METADATA, f"its sequence and bundle id are {signed}, announced were {announced}"
            )

    async def _verified(self, uri: str, sha256: str, expected: Expectation) -> Manifest:
        try:
            files = await asyncio.wait_for(asyncio.to_thread(read_files, uri), READ_TIMEOUT_S)
        except TimeoutError as error:
            raise BundleRefused(RejectCode.UNREACHABLE, f"{uri} was not read within {READ_TIMEOUT_S} s") from error
        return verify_files(files, self._trust, expected, sha256=sha256, allow_unsigned=self._allow_unsigned)

    def _instruments(self, strategy: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, traded_by in self._strategies.items() if traded_by == strategy))

    def _register(self, ready: BundleReady) -> None:
        instruments = self._instruments(ready.strategy)
        is_live = all(
            (active := self._fold.active.get((ready.strategy, name))) is not None and active.sha256 == ready.sha256
            for name in instruments
        )
        candidate = self._candidates[ready.strategy] = Candidate(
            strategy=ready.strategy,
            bundle_id=ready.bundle_id,
            sha256=ready.sha256,
            sequence=ready.sequence,
            instruments=instruments,
            state=RolloutState.LIVE if is_live else RolloutState.REGISTERED,
        )
        if is_live:
            self._live[ready.strategy] = candidate
        elif self._is_overtaken(candidate):
            self._move(candidate, Trigger.ROLLED_BACK)

    def _is_overtaken(self, candidate: Candidate) -> bool:
        """Whether somebody has activated another bundle since this one was rolled out: theirs is the last word."""
        rollout = self._fold.rollouts.get(candidate.strategy)
        if rollout is None or rollout.sha256 != candidate.sha256:
            return False
        active = (self._fold.active.get((candidate.strategy, name)) for name in candidate.instruments)
        return any(a is not None and a.sha256 != candidate.sha256 and a.offset > rollout.offset for a in active)

    async def _advance(self) -> None:
        now_ns = self._clock.now_ns()
        for candidate in list(self._candidates.values()):
            if candidate.state in {RolloutState.REGISTERED, RolloutState.LIVE} and self._is_overtaken(candidate):
                self._move(candidate, Trigger.ROLLED_BACK)
        for candidate in list(self._candidates.values()):
            if candidate.state is not RolloutState.REGISTERED:
                continue
            rejection = self._fleet.rejection(candidate.sha256, now_ns)
            if rejection is not None:
                self._move(candidate, Trigger.REJECTED)
                await self._alert(candidate, f"{rejection.agent_id}: {rejection.detail}")
            elif self._fleet.has_staged_everywhere(candidate.sha256, now_ns):
                self._replace(self._move(candidate, Trigger.STAGED_EVERYWHERE))
                await self._activate(candidate)

    def _move(self, candidate: Candidate, trigger: Trigger) -> Candidate:
        moved = msgspec.structs.replace(candidate, state=move(candidate.state, trigger))
        self._candidates[candidate.strategy] = moved
        _log.info("bundle %s of strategy %s is %s", moved.bundle_id, moved.strategy, moved.state)
        return moved

    def _replace(self, live: Candidate) -> None:
        """What was live is retired by what is live now."""
        if (previous := self._live.get(live.strategy)) is not None:
            _log.info("bundle %s is %s", previous.bundle_id, move(previous.state, Trigger.REPLACED))
        self._live[live.strategy] = live

    async def _activate(self, candidate: Candidate) -> None:
        for instrument in candidate.instruments:
            await self._write(
                Activate(
                    strategy=candidate.strategy,
                    instrument=instrument,
                    bundle_id=candidate.bundle_id,
                    sha256=candidate.sha256,
                    expects=self._fold.last_offset(f"active/{candidate.strategy}/{instrument}"),
                    ts=self._clock.now_ns(),
                    who=self._agent_id,
                )
            )

    async def _refuse(self, ready: BundleReady, code: RejectCode, detail: str) -> None:
        _log.warning("bundle %s refused: %s", ready.bundle_id, detail)
        answer = Rejected(
            agent_id=self._agent_id,
            strategy=ready.strategy,
            bundle_id=ready.bundle_id,
            sha256=ready.sha256,
            ts=self._clock.now_ns(),
            code=code,
            detail=detail,
        )
        await self._publish("status", NewRecord(key=status_key(answer).encode(), value=encode(answer)))

    async def _alert(self, candidate: Candidate, text: str) -> None:
        alert = Alert(
            alert_id=f"{self._agent_id}/rollout-aborted/{candidate.sha256}",
            ts=self._clock.now_ns(),
            agent_id=self._agent_id,
            severity="warning",
            code="ROLLOUT_ABORTED",
            text=text,
        )
        await self._publish("risk", NewRecord(key=alert.alert_id.encode(), value=encode(alert)))

    async def _write(self, message: Rollout | Activate) -> None:
        await self._publish("control", NewRecord(key=control_key(message).encode(), value=encode(message)))

    async def _publish(self, topic: str, record: NewRecord) -> None:
        if self._producer is None:
            raise RuntimeError("the agent is not started")
        await publish_at_last(self._producer, self._clock, topic, record)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(agent_id=self._agent_id, agent="orchestrator", ts=self._clock.now_ns(), state="live")


def _read(record: Record) -> object | None:
    """Return the message, or None: these topics are written by agents and operators, and what is unreadable is void."""
    try:
        message: object = decode(record.topic, record.value, record.headers)
    except Refused as error:
        _log.warning("%s offset %d can't be read: %s", record.topic, record.offset, error)
        return None
    return message


def _strategy(record: Record) -> str | None:
    message = _read(record)
    return message.strategy if isinstance(message, BundleReady) else None
