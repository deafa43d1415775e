"""The Execution agent: reads market, control and status, drives the shards it owns, swaps bundles."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import attrgetter

from msgspec import Struct

from agents.execution.alerts import risk_alert
from agents.execution.config import ExecutionConfig
from agents.execution.directives import Directives, Wanted
from agents.execution.rehearsal import Rehearsal, keep_warm
from agents.execution.risk_watch import RiskWatch
from agents.execution.runner import GATHER_S, ShardRunner
from agents.execution.scope import Scope, shard_of
from agents.execution.shard import Shard
from agents.execution.staging import Staging, prepare
from agents.execution.swaps import load_bundles, swapped
from agents.lifecycle.status import beat, publish_at_last
from agents.lifecycle.supervisor import Supervisor
from bundles.verifier import Verifier
from messages import (
    Bus,
    Clock,
    Consumer,
    Fatal,
    Heartbeat,
    LoggedStep,
    NewRecord,
    Partition,
    Producer,
    Record,
    Rejected,
    Retryable,
    Rollout,
    Staged,
    Swapped,
    TickpilotError,
    encode,
    status_key,
)
from messages.bus.reading import read_all
from messages.control import ControlMessage
from messages.decisions import MAX_STEP_RECORDS, BundleActivated, BundleUnavailable, RiskAlive, StepInput, Timer

IDLE_POLL_S = 30.0
_log = logging.getLogger(__name__)

OnStep = Callable[[LoggedStep, int, int], None]


class _Clients(Struct, frozen=True, kw_only=True):
    producer: Producer
    market: Consumer


class ExecutionAgent:
    """One replica. `on_step` hears (logged step, partition, nanoseconds it took), for figures only."""

    def __init__(
        self,
        *,
        config: ExecutionConfig,
        scope: Scope,
        bus: Bus,
        clock: Clock,
        verifier: Verifier,
        agent_id: str = "execution-1",
        on_step: OnStep | None = None,
    ) -> None:
        self._config, self._scope, self._bus, self._clock = config, scope, bus, clock
        self._agent_id, self._on_step, self._verifier = agent_id, on_step, verifier
        self._directives = Directives()
        self._staging = Staging(
            clock=clock,
            agent_id=agent_id,
            trust=scope.trust,
            verifier=verifier,
            instruments=scope.strategies,
            allow_unsigned=scope.allow_unsigned,
            timeout_s=config.staging_timeout_ms / 1000,
            user_features=scope.user_features,
        )
        self._tasks = Supervisor()
        self._owners: dict[int, asyncio.Task[None]] = {}
        self._runners: set[ShardRunner] = set()
        self._live: dict[int, ShardRunner] = {}
        self._failed: set[int] = set()
        self._risk = RiskWatch(config.risk_timeout_ms)
        self._partitions = 0
        self._control_to: dict[Partition, int] = {}
        self._clients: _Clients | None = None
        self._stopping = False
        self._is_busy = False

    @property
    def agent_id(self) -> str:
        return self._agent_id

    @property
    def live(self) -> Mapping[int, ShardRunner]:
        """The live shards by partition."""
        return self._live

    async def start(self) -> None:
        await asyncio.gather(self._verifier.start(), asyncio.to_thread(prepare, self._verifier.runtime))
        producer = await self._bus.producer()
        self._partitions = await self._bus.partition_count("market")
        records, self._control_to = await read_all(self._bus, ["control", "status"])
        for record in (record for record in records if record.topic == "control"):
            self._directives.apply(record)
        if self._directives.fold.log_id is None:
            raise Fatal("topic control holds no log id; run `tickpilot topics create` first")
        for wanted in self._directives.to_stage():
            answer = await self._staging.stage(wanted)
            await producer.publish("status", NewRecord(key=status_key(answer).encode(), value=encode(answer)))
        member = self._agent_id if self._config.static_membership else None
        market = await self._bus.subscribe(["market"], self._config.group, self, member=member)
        self._clients = _Clients(producer=producer, market=market)
        for name, task in (
            ("control", partial(self._follow, Partition("control", 0))),
            ("status", partial(self._follow, Partition("status", 0))),
            ("market", self._follow_market),
            ("timer", self._watch_time),
            ("commit", self._commit_often),
            ("heartbeat", self._beat),
            ("keep warm", self._keep_warm),
        ):
            self._tasks.keep(task, f"{self._agent_id}-{name}", self._clock)

    async def run(self) -> None:
        await self._tasks.wait()

    async def stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        try:
            await self._give_up(list(self._owners))
            if self._clients is not None:
                await self._clients.market.stop()
        finally:
            await self._tasks.stop()
            await self._verifier.stop()
            if self._clients is not None:
                await self._clients.producer.stop()

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        self._started.market.pause(partitions)
        for number in [partition.number for partition in partitions]:
            if number not in self._owners and not self._stopping:
                _log.info("shard %d assigned", number)
                self._failed.discard(number)
                name = f"{self._agent_id} shard {number}"
                self._owners[number] = self._tasks.keep(partial(self._own, number), name, self._clock)

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        await self._give_up([partition.number for partition in partitions])

    async def _give_up(self, numbers: Sequence[int]) -> None:
        """Stop deciding, flush what is decided, commit, release. What can't be flushed in time is in the log anyhow."""
        runners = [runner for number in numbers if (runner := self._live.pop(number, None)) is not None]
        owners = {owner for number in numbers if (owner := self._owners.pop(number, None)) is not None}
        await asyncio.gather(*(self._drain(runner) for runner in runners))
        for owner in owners:
            owner.cancel()
        if owners:
            await asyncio.wait(owners, timeout=self._config.drain_timeout_ms / 1000)

    async def _drain(self, runner: ShardRunner) -> None:
        try:
            async with asyncio.timeout(self._config.drain_timeout_ms / 1000):
                await runner.drain()
                await self._commit([runner])
        except (TimeoutError, Retryable) as error:
            _log.warning(
                "shard %d not drained: %s; the next owner recovers from the log", runner.shard.partition, error
            )

    async def _own(self, number: int) -> None:
        """Own a shard until cancelled: recover and trade. Kept: it recovers anew after the bus was away.

        Only when the group confirms it: whoever was frozen may have lost the shard and must not fence its new owner.
        """
        try:
            if number in self._failed:
                await self._started.market.confirm(Partition("market", number))
            await self._own_once(number)
        except Retryable:
            self._failed.add(number)
            self._started.market.pause([Partition("market", number)])
            raise

    async def _own_once(self, number: int) -> None:
        runner, work = self._new_runner(number), Supervisor()
        self._runners.add(runner)
        try:
            with self._tasks.telling():  # at once: a revocation may cancel this task while it lets go
                lost = await self._recover(runner)
                for task in (runner.send_orders(), runner.read_reports(), runner.flush_often()):
                    work.spawn(task, f"{self._agent_id}-{number}-work")
                await self._go_live(runner, lost)
                await work.wait()
        finally:
            self._runners.discard(runner)
            if self._live.get(number) is runner:
                del self._live[number]
            with suppress(TickpilotError):  # the first error is the one that counts
                await work.stop()
            await runner.release()

    def _new_runner(self, number: int) -> ShardRunner:
        on_step = self._on_step
        return ShardRunner(
            shard_of(self._scope, number, self._partitions, self._config, self._staging.bundles),
            bus=self._bus,
            clock=self._clock,
            config=self._config,
            owner=self._agent_id,
            dead_letters=self._started.producer,
            on_step=None if on_step is None else lambda logged, took_ns: on_step(logged, number, took_ns),
        )

    async def _recover(self, runner: ShardRunner) -> tuple[BundleUnavailable, ...]:
        recovered = await runner.recover()
        _log.info("shard %d recovered: epoch=%d adopted=%d", runner.shard.partition, runner.epoch, recovered.adopted)
        return await load_bundles(runner.shard, self._is_staged, self._clock)

    async def _is_staged(self, sha256: str) -> bool:
        """Whether a bundle is there, or comes when it is asked for once more."""
        if sha256 not in self._staging.bundles and (wanted := self._directives.wanted(sha256)) is not None:
            await self._stage(wanted)
        return sha256 in self._staging.bundles

    async def _go_live(self, runner: ShardRunner, lost: Iterable[BundleUnavailable]) -> None:
        partition, market = Partition("market", runner.shard.partition), self._started.market
        await market.seek(partition, runner.shard.market_to)
        self._live[runner.shard.partition] = runner
        await self._apply_pending(runner, *lost, RiskAlive(alive=self._risk.is_alive))
        market.resume([partition])
        _log.info("shard %d live: market_from=%d", partition.number, runner.shard.market_to)

    async def _follow_market(self) -> None:
        market = self._started.market
        while True:
            records = await market.poll(timeout_s=IDLE_POLL_S)
            for number, chunk in groupby(records, key=attrgetter("partition")):
                if (runner := self._live.get(number)) is None:
                    await asyncio.sleep(0)  # `poll` may return at once, again and again
                else:
                    await self._step_through(runner, _following(list(chunk), runner.shard.market_to))

    async def _step_through(self, runner: ShardRunner, records: Sequence[Record]) -> None:
        """Decide step by step; acknowledgements, reports and halts have their turn in between."""
        for low in range(0, len(records), MAX_STEP_RECORDS):
            await runner.wait_for_room()
            if self._live.get(runner.shard.partition) is not runner:
                return
            self._is_busy = True
            runner.step(records[low : low + MAX_STEP_RECORDS])
            await asyncio.sleep(0)

    async def _follow(self, partition: Partition) -> None:
        consumer = await self._bus.consumer(gather_s=GATHER_S)
        try:
            await consumer.assign({partition: self._control_to[partition]})
            while True:
                for record in await consumer.poll(timeout_s=IDLE_POLL_S):
                    await self._obey(record)
                    self._control_to[partition] = record.offset + 1
        finally:
            await consumer.stop()

    async def _obey(self, record: Record) -> None:
        if record.topic == "status":
            self._risk.hear(record, self._clock.now_ns())
            self._refresh_risk()
            return
        message = self._directives.apply(record)
        if message is not None:
            await self._apply(message)

    async def _apply(self, message: ControlMessage) -> None:
        wanted = self._directives.wanted_by(message)
        if wanted is None or (wanted.sha256 in self._staging.bundles and not isinstance(message, Rollout)):
            await self._activate()
        else:  # a Rollout is answered even when the bundle is there
            self._tasks.spawn(self._stage_and_activate(wanted), f"{self._agent_id}-stage")

    async def _stage_and_activate(self, wanted: Wanted) -> None:
        await self._stage(wanted)
        await self._activate()

    async def _stage(self, wanted: Wanted) -> None:
        answer = await self._staging.stage(wanted)
        if isinstance(answer, Rejected):
            _log.warning("bundle %s rejected: %s", answer.bundle_id, answer.detail)
        self._tell(answer)

    async def _activate(self) -> None:
        for runner in list(self._live.values()):
            await self._apply_pending(runner)
        self._staging.retain(self._directives.in_use(runner.shard for runner in self._runners))

    async def _apply_pending(self, runner: ShardRunner, *first: StepInput) -> None:
        """Give a shard what it has not applied yet: halts and the like, and activations of staged bundles."""
        inputs = (*first, *self._directives.inputs_for(runner.shard, self._staging.bundles))
        if not inputs:
            return
        began = self._clock.perf_ns()
        runner.step((), inputs)
        swap_us = (self._clock.perf_ns() - began) / 1e3
        for applied in inputs:
            if isinstance(applied, BundleActivated):
                self._tell(swapped(self._agent_id, runner.shard, applied, self._clock.now_ns(), swap_us))

    async def _watch_time(self) -> None:
        while True:
            await self._clock.sleep(self._config.timer_interval_ms / 1000)
            self._refresh_risk()
            for runner in list(self._live.values()):
                if runner.is_waiting:
                    runner.step((), (Timer(),))

    def _refresh_risk(self) -> None:
        now_ns = self._clock.now_ns()
        alive = self._risk.turned(now_ns)
        if alive is None:
            return
        _log.warning("risk heartbeat %s", "is back: active" if alive else "missed: reducing")
        timeout_ms = self._config.risk_timeout_ms
        alert = risk_alert(alive=alive, timeout_ms=timeout_ms, agent_id=self._agent_id, at_ns=now_ns)
        self._publish("risk", alert.alert_id, alert)
        for runner in list(self._live.values()):
            runner.step((), (RiskAlive(alive=alive),))

    async def _keep_warm(self) -> None:
        await keep_warm(self._clock, self._config, self._idle_shard, self._new_rehearsal)

    def _idle_shard(self) -> Shard | None:
        """Return a live shard if no market record came since the last call."""
        was_busy, self._is_busy = self._is_busy, False
        return None if was_busy or not self._live else next(iter(self._live.values())).shard

    def _new_rehearsal(self, shard: Shard) -> Rehearsal:
        return Rehearsal(shard, self._scope, self._config, self._staging.bundles, partitions=self._partitions)

    async def _commit_often(self) -> None:
        while True:
            await self._clock.sleep(self._config.heartbeat_interval_ms / 1000)
            await self._commit(self._live.values())

    async def _commit(self, runners: Iterable[ShardRunner]) -> None:
        """Committed offsets show the lag and nothing else: a failed commit is only logged."""
        offsets = {Partition("market", runner.shard.partition): runner.shard.market_to for runner in runners}
        if not offsets:
            return
        try:
            await self._started.market.commit(offsets)
        except Retryable as error:
            _log.warning("lag display is behind: %s", error)

    def _tell(self, message: Staged | Swapped | Rejected) -> None:
        self._publish("status", status_key(message), message)

    def _publish(self, topic: str, key: str, message: Struct) -> None:
        """Publish beside everything else: a slow broker must not hold up a halt."""
        record = NewRecord(key=key.encode(), value=encode(message))
        self._tasks.spawn(publish_at_last(self._started.producer, self._clock, topic, record), "tell")

    async def _beat(self) -> None:
        await beat(self._bus, self._started.producer, self._clock, self._heartbeat, self._config.heartbeat_interval_ms)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(
            agent_id=self._agent_id,
            agent="execution",
            ts=self._clock.now_ns(),
            state="live" if self._live else "recovering",
            partitions=tuple(sorted(self._live)),
            staged=tuple(sorted(self._staging.bundles)),
            shards=tuple(runner.take_status() for _, runner in sorted(self._live.items())),
        )

    @property
    def _started(self) -> _Clients:
        if self._clients is None:
            raise RuntimeError("the agent is not started")
        return self._clients


def _following(records: Sequence[Record], market_to: int) -> Sequence[Record]:
    """Drop what the shard has decided already: a seek may deliver what was fetched before."""
    if not records or records[0].offset >= market_to:
        return records
    return [record for record in records if record.offset >= market_to]
