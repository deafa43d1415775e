"""The Trainer: keeps the recent ticks and answers each TrainRequest with a bundle, or with why there is none."""

import asyncio
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from agents.lifecycle.dead_letters import dead_letters
from agents.lifecycle.status import beat, publish_at_last
from agents.lifecycle.supervisor import Supervisor
from agents.risk.instruments import Instrument
from agents.trainer.config import TrainerConfig, WorkerDone, WorkerFailed, WorkerProgress, WorkerRequest
from agents.trainer.process import run_worker
from agents.trainer.publish import announce, store
from bundles.features import TickRing, times_ns
from messages import (
    Bar,
    Bus,
    BusTimeout,
    Clock,
    Consumer,
    Heartbeat,
    NewRecord,
    Partition,
    Producer,
    Quote,
    Record,
    Refused,
    Retryable,
    Trade,
    TrainProgress,
    TrainRequest,
    TrainResult,
    decode,
    encode,
)

_log = logging.getLogger(__name__)
_POLL_S = 30.0
_CATCH_UP_S = 60.0
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class TrainerAgent:
    """Reads `market` from its beginning into bounded arrays and serves `training`, one run after the other.

    Requests published before `start` are not served. A run trains on ticks with ts_recv <= `data_to` in a process of
    its own; its bundle is announced on `bundles` when the clock has reached `announce_at`.
    """

    def __init__(
        self,
        config: TrainerConfig,
        *,
        bus: Bus,
        clock: Clock,
        instruments: Mapping[str, Instrument],
        agent_id: str = "trainer-1",
    ) -> None:
        models = Path(config.models_dir).resolve()
        self._models = models
        self._config = msgspec.structs.replace(config, models_dir=str(models))
        self._bus = bus
        self._clock = clock
        self._instruments = instruments
        self._agent_id = agent_id
        self._rings = {name: TickRing(config.max_ticks) for name in instruments}
        self._supervisor = Supervisor()
        self._state = "idle"
        self._stopped = False
        self._moved = asyncio.Event()
        self._open: list[Producer | Consumer] = []
        self._producer: Producer
        self._market: Consumer
        self._training: Consumer

    @property
    def agent_id(self) -> str:
        return self._agent_id

    async def start(self) -> None:
        self._producer = await self._bus.producer()
        self._open.append(self._producer)
        self._market = await self._bus.consumer()
        self._open.append(self._market)
        self._training = await self._bus.consumer()
        self._open.append(self._training)
        await self._market.assign(await self._market.beginning_offsets(await self._market_partitions()))
        await self._training.assign(await self._training.end_offsets([Partition("training", 0)]))

    async def _market_partitions(self) -> list[Partition]:
        return [Partition("market", number) for number in range(await self._bus.partition_count("market"))]

    async def run(self) -> None:
        self._supervisor.keep(self._follow_market, "trainer-market", self._clock)
        self._supervisor.keep(self._serve, "trainer-requests", self._clock)
        self._supervisor.spawn(
            beat(self._bus, self._producer, self._clock, self._heartbeat, self._config.heartbeat_interval_ms),
            "trainer-heartbeat",
        )
        await self._supervisor.wait()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        await self._supervisor.stop()
        for part in reversed(self._open):
            await part.stop()

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(agent_id=self._agent_id, agent="trainer", ts=self._clock.now_ns(), state=self._state)

    async def _follow_market(self) -> None:
        while True:
            for record in await self._market.poll(timeout_s=_POLL_S):
                self._keep(record)
            self._moved.set()

    def _keep(self, record: Record) -> None:
        try:
            message = decode("market", record.value, record.headers)
        except Refused:
            return  # Execution owns the dead letters of `market`
        if isinstance(message, Quote | Trade | Bar) and (ring := self._rings.get(message.instrument)) is not None:
            ring.push(message)

    async def _serve(self) -> None:
        while True:
            for record in await self._training.poll(max_records=16, timeout_s=_POLL_S):
                try:
                    message = decode("training", record.value, record.headers)
                except Refused as error:
                    now_ns = self._clock.now_ns()
                    for letter in dead_letters(record, str(error), agent_id=self._agent_id, ts=now_ns):
                        await publish_at_last(self._producer, self._clock, "dead-letters", letter)
                    continue
                if isinstance(message, TrainRequest):
                    self._state = "training"
                    await self._train(message)
                    self._state = "idle"

    async def _train(self, request: TrainRequest) -> None:
        """Carry out one request; whatever comes of it is a TrainResult."""
        try:
            work = await self._prepare(request)
            directory = self._directory(request)
            outcome = await run_worker(work, directory, lambda progress: self._tell(request, progress))
            if isinstance(outcome, WorkerFailed):
                _log.warning("run %s failed: %s; its model: %s", request.run_id, outcome.reason, outcome.model)
                await self._result(request, reason=outcome.reason, figures=outcome.figures)
                return
            uri = await store(Path(outcome.bundle), self._config.registry_uri)
        except (Refused, Retryable, OSError) as error:
            await self._result(request, reason=str(error))
            return
        await self._until(request.announce_at)
        ready = await announce(self._producer, self._clock, work, outcome, uri)
        await self._result(request, done=outcome, uri=ready.uri, figures=outcome.figures)

    async def _prepare(self, request: TrainRequest) -> WorkerRequest:
        if _RUN_NAME.fullmatch(request.run_id) is None:
            raise Refused(f"run_id {request.run_id!r} can't name a directory; use letters, digits, '.', '_' and '-'")
        if unknown := sorted(set(request.instruments) - set(self._instruments)):
            raise Refused(f"no instrument {', '.join(unknown)} in the settings; it has {', '.join(self._instruments)}")
        await self._read_up_to_now()
        directory = self._directory(request)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        ticks = {name: self._ticks(name, request.data_to) for name in request.instruments}
        np.savez(directory / "ticks.npz", **ticks)  # type: ignore[arg-type]
        return WorkerRequest(
            run_id=request.run_id,
            strategy=request.strategy,
            instruments=tuple(self._instruments[name] for name in request.instruments),
            algorithm=request.algorithm,
            timesteps=request.timesteps,
            seed=request.seed,
            sequence=request.sequence,
            # Known before training, so that the bundle's bytes follow from request and data alone.
            created=request.ts if request.announce_at is None else request.announce_at,
            data=str(directory / "ticks.npz"),
            config=self._config,
        )

    def _directory(self, request: TrainRequest) -> Path:
        return self._models / request.run_id

    def _ticks(self, name: str, data_to: int | None) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        rows = self._rings[name].rows()
        return rows if data_to is None else np.ascontiguousarray(rows[times_ns(rows) <= data_to])

    async def _read_up_to_now(self) -> None:
        """Return when everything on `market` by now is in the arrays."""
        ends = await self._market.end_offsets(await self._market_partitions())
        try:
            async with asyncio.timeout(_CATCH_UP_S):
                while any(self._market.position(partition) < end for partition, end in ends.items()):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise BusTimeout("reading `market` up to its end", _CATCH_UP_S) from None

    async def _tell(self, request: TrainRequest, progress: WorkerProgress) -> None:
        message = TrainProgress(
            run_id=request.run_id,
            ts=self._clock.now_ns(),
            timesteps_done=progress.timesteps_done,
            timesteps_total=progress.timesteps_total,
            mean_reward=progress.mean_reward,
        )
        try:
            await self._producer.publish("training", NewRecord(key=request.run_id.encode(), value=encode(message)))
        except Retryable as error:  # the next one tells more anyhow
            _log.warning("progress of run %s is not told: %s", request.run_id, error)

    async def _until(self, moment_ns: int | None) -> None:
        while moment_ns is not None and (left_ns := moment_ns - self._clock.now_ns()) > 0:
            await self._clock.sleep(left_ns / 1e9)

    async def _result(
        self,
        request: TrainRequest,
        *,
        done: WorkerDone | None = None,
        uri: str | None = None,
        reason: str | None = None,
        figures: dict[str, float] | None = None,
    ) -> None:
        message = TrainResult(
            run_id=request.run_id,
            ts=self._clock.now_ns(),
            outcome="failed" if done is None else "published",
            bundle_id=None if done is None else done.bundle_id,
            sha256=None if done is None else done.sha256,
            uri=uri,
            reason=reason,
            figures=figures or {},
        )
        record = NewRecord(key=request.run_id.encode(), value=encode(message))
        await publish_at_last(self._producer, self._clock, "training", record)
