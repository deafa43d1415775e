"""An Orchestrator on the bus in memory, whoever announces bundles, and replicas that stage what they are told to."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from agents.orchestrator.agent import OrchestratorAgent
from agents.orchestrator.config import OrchestratorConfig
from bundles.loader import LoadedBundle, load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import (
    TOPICS,
    Activate,
    BundleReady,
    Heartbeat,
    NewRecord,
    Partition,
    RejectCode,
    Rejected,
    Rollout,
    SystemClock,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker
from messages.control import ControlMessage, LogStarted, control_key
from messages.control_fold import ControlFold
from tests.bundles.samples import export_sample, tiny_module

WAIT_S = 20.0
CONTROL, STATUS, BUNDLES = Partition("control", 0), Partition("status", 0), Partition("bundles", 0)


class World:
    """An Orchestrator on the bus in memory, and whoever announces bundles."""

    def __init__(self, home: Path) -> None:
        self.home, self.key = home, SigningKey.generate()
        self.broker = MemoryBroker(clock=SystemClock())
        self._seen = dict.fromkeys((CONTROL, STATUS), 0)
        self._agent: OrchestratorAgent | None = None
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.broker.connect("test").create_topics(TOPICS.values(), shards=1)
        started = LogStarted(log_id="L")
        self.broker.append(CONTROL, [NewRecord(key=control_key(started).encode(), value=encode(started))])

    async def start(self) -> None:
        self._agent = OrchestratorAgent(
            config=OrchestratorConfig(),
            bus=self.broker.connect("orchestrator"),
            clock=SystemClock(),
            strategies={"AAA": "momentum"},
            trust=TrustStore.of([self.key]),
        )
        await self._agent.start()
        self._running = asyncio.create_task(self._agent.run())

    async def stop(self) -> None:
        if self._agent is not None and self._running is not None:
            await self._agent.stop()
            with suppress(asyncio.CancelledError):
                await self._running

    def made(self, sequence: int, **changes: Any) -> LoadedBundle:
        """A good bundle of this sequence, in `home`."""
        name = f"bundle-{sequence}"
        facts = {"run_name": name, "module": tiny_module(sequence), "sequence": sequence, **changes}
        return load_bundle(export_sample(self.home, self.key, **facts), trust=TrustStore.of([self.key]))

    def announce(self, bundle: LoadedBundle, **changes: Any) -> None:
        facts: dict[str, Any] = {
            "bundle_id": bundle.bundle_id,
            "strategy": bundle.manifest.strategy,
            "uri": (self.home / bundle.manifest.run_name).as_uri(),
            "sha256": bundle.digest,
            "sequence": bundle.manifest.sequence,
            "created": bundle.manifest.created,
        }
        ready = BundleReady(**{**facts, **changes})
        self.broker.append(BUNDLES, [NewRecord(key=ready.bundle_id.encode(), value=encode(ready))])

    async def answer(self) -> Rollout | Rejected:
        """The next Rollout or Rejected."""
        consumer = await self.broker.connect("observer").consumer()
        await consumer.assign(self._seen)
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    for record in await consumer.poll(max_records=1, timeout_s=WAIT_S):
                        self._seen[Partition(record.topic, record.partition)] = record.offset + 1
                        message = decode(record.topic, record.value)
                        if isinstance(message, Rollout | Rejected):
                            return message
                        assert isinstance(message, LogStarted | Heartbeat | Activate)
        finally:
            await consumer.stop()

    async def refusal(self) -> RejectCode:
        answer = await self.answer()
        assert isinstance(answer, Rejected), answer
        return answer.code

    async def accepted(self) -> str:
        answer = await self.answer()
        assert isinstance(answer, Rollout), answer
        return answer.sha256

    def staged(self, *bundles: LoadedBundle) -> None:
        """A replica says that it is alive and holds these."""
        digests = tuple(bundle.digest for bundle in bundles)
        beat = Heartbeat(
            agent_id="execution-1", agent="execution", ts=SystemClock().now_ns(), state="live", staged=digests
        )
        self.broker.append(STATUS, [NewRecord(key=b"execution-1/Heartbeat", value=encode(beat))])

    def write(self, *messages: ControlMessage) -> None:
        self.broker.append(
            CONTROL, [NewRecord(key=control_key(message).encode(), value=encode(message)) for message in messages]
        )

    def fold(self) -> ControlFold:
        """What `control` says now."""
        fold = ControlFold()
        for record in self.broker.log(CONTROL).records:
            fold.apply(record.offset, decode("control", record.value))
        return fold

    async def trades(self, bundle: LoadedBundle) -> None:
        """Return when `control` says that AAA trades with this bundle."""
        fold = ControlFold()
        consumer = await self.broker.connect("observer").consumer()
        await consumer.assign({CONTROL: 0})
        try:
            async with asyncio.timeout(WAIT_S):
                while (active := fold.active.get(("momentum", "AAA"))) is None or active.sha256 != bundle.digest:
                    for record in await consumer.poll(timeout_s=WAIT_S):
                        fold.apply(record.offset, decode("control", record.value))
        finally:
            await consumer.stop()
