"""A cluster for Execution alone: topics of its own, a signed bundle, Risk's heartbeat, and ticks to decide on."""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import torch
import yaml
from aiokafka import AIOKafkaProducer
from msgspec import Struct

from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from bundles.actions import ActionMapping
from bundles.export import export_module
from bundles.features import DEFAULT_FEATURES
from bundles.manifest import MANIFEST_NAME, bundle_id, decode_manifest
from bundles.registry import read_files
from bundles.signing import SigningKey
from messages import (
    Bus,
    Consumer,
    Heartbeat,
    NewRecord,
    Partition,
    Producer,
    Rejected,
    connect,
    decode,
    encode,
    status_key,
)
from messages.bus.cluster import create_topics
from messages.bus.memory.broker import MemoryBroker
from messages.bus.protocol import MAX_BATCH_BYTES
from messages.control import Activate, Rollout, control_key
from messages.market import MarketMessage
from messages.status import Swapped
from tests.bench.execution.networks import Network
from tests.bundles.samples import resigned, write_all

STRATEGY = "bench"
BATCH_RECORDS = 500
_ROOMY = 1e12
_WAIT_S = 120.0


class Bundle(Struct, frozen=True, kw_only=True):
    """A bundle that lies in a directory, signed by a trusted key."""

    uri: str
    sha256: str
    bundle_id: str


class World(Struct, frozen=True, kw_only=True):
    """Topics under a prefix of their own with one shard, and the settings file of an Execution agent on them.

    `memory`: the broker, where it is one in this process.
    """

    url: str
    prefix: str
    home: Path
    key: SigningKey
    instruments: tuple[str, ...]
    settings_file: Path
    memory: MemoryBroker | None = None

    def connect(self, client: str = "bench") -> Bus:
        """Return a connection to these topics."""
        if self.memory is not None:
            return self.memory.connect(client)
        return connect(self.url, client=client, prefix=self.prefix)

    def new_bundle(self, *, sequence: int, module: torch.nn.Module | None = None) -> Bundle:
        """Export and sign a policy over the default features: by default 64x64, with weights seeded by `sequence`."""
        directory = export_module(
            module or Network(seed=sequence),
            out_dir=self.home / "models",
            obs_shape=(DEFAULT_FEATURES.size,),
            strategy=STRATEGY,
            instruments=self.instruments,
            features=DEFAULT_FEATURES,
            actions=ActionMapping(kind="levels", max_position=1.0, decide_every=1),
            sequence=sequence,
            created=1,
            key=self.key,
            run_name=f"bench-{sequence}",
        )
        return _described(directory)

    def again(self, bundle: Bundle, sequences: Iterable[int]) -> list[Bundle]:
        """Sign the same policy under other sequences: bundles of their own, made in no time."""
        files = read_files(bundle.uri)
        return [
            _described(
                write_all(self.home / "models" / f"again-{sequence}", resigned(files, self.key, sequence=sequence))
            )
            for sequence in sequences
        ]


def _described(directory: Path) -> Bundle:
    manifest = (directory / MANIFEST_NAME).read_bytes()
    return Bundle(
        uri=str(directory), sha256=sha256(manifest).hexdigest(), bundle_id=bundle_id(decode_manifest(manifest))
    )


async def new_world(url: str, home: Path, *, instruments: int = 1, busy_poll: bool = False, **decisions: Any) -> World:
    """Create the topics and write the settings; `decisions` are those of `execution.decisions`."""
    key = _new_key(home)
    prefix, reference = f"bench-{secrets.token_hex(4)}-", synthetic_instruments(instruments)
    names = tuple(instrument.instrument for instrument in reference)
    exposures = dict.fromkeys(("max_gross_exposure", "max_net_exposure"), _ROOMY)
    counts = dict.fromkeys(("max_open_orders", "max_messages_per_s", "max_repeated_executions"), 10_000_000)
    collars = {"price_collar_bps": 10_000, "price_collar_period_bps": 10_000, "price_collar_period_ms": 0}
    settings = {
        "bus": url,
        "prefix": prefix,
        "shards": 1,
        "cash": 1e9,
        "trust": str(home / "trusted"),
        "instruments": [msgspec.to_builtins(instrument) for instrument in reference],
        "strategies": {STRATEGY: list(names)},
        "limits": {
            "defaults": {**exposures, **counts, **collars, "max_order_value": _ROOMY, "duplicate_window_ms": 0},
            "portfolio": exposures,  # what is late would pass it: each order in flight counts
        },
        "execution": {
            "busy_poll": busy_poll,
            "decisions": {"runtime": "mlp", "max_decision_age_ms": 86_400_000, **decisions},
        },
    }
    settings_file = _written(home / "settings.yaml", settings)
    world = World(
        url=url,
        prefix=prefix,
        home=home,
        key=key,
        instruments=names,
        settings_file=settings_file,
        memory=MemoryBroker() if url.startswith("memory://") else None,
    )
    bus = world.connect()
    try:
        await create_topics(bus, shards=1, log_id="bench")
    finally:
        await bus.stop()
    return world


def _new_key(home: Path) -> SigningKey:
    (home / "trusted").mkdir(parents=True)
    key = SigningKey.generate()
    key.write(home / "private.pem")
    for public in home.glob("*.pub"):
        public.rename(home / "trusted" / public.name)
    return key


def _written(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


async def roll_out(world: World, producer: Producer, bundle: Bundle, expects: dict[str, int]) -> None:
    """Let every instrument trade with the bundle. `expects`: where the keys' last records stand, updated here."""
    facts: dict[str, Any] = {
        "strategy": STRATEGY,
        "bundle_id": bundle.bundle_id,
        "sha256": bundle.sha256,
        "ts": 1,
        "who": "bench",
    }
    wanted: list[Rollout | Activate] = [Rollout(uri=bundle.uri, expects=-1, **facts)]
    wanted += [Activate(instrument=name, expects=-1, **facts) for name in world.instruments]
    for message in wanted:
        key = control_key(message)
        message = msgspec.structs.replace(message, expects=expects.get(key, -1))  # noqa: PLW2901
        expects[key] = await producer.publish("control", NewRecord(key=key.encode(), value=encode(message)))


async def keep_risk_alive(producer: Producer) -> None:
    """Publish Risk's heartbeat once a second, until cancelled."""
    while True:
        beat = Heartbeat(agent_id="risk-1", agent="risk", ts=1, state="live")
        await producer.publish("status", NewRecord(key=status_key(beat).encode(), value=encode(beat)))
        await asyncio.sleep(1.0)


class SwapWatch:
    """Follows `status` for bundles that have begun to trade."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._consumer: Consumer | None = None
        self._swapped: dict[str, set[str]] = defaultdict(set)

    async def until(self, bundle: Bundle, instruments: int) -> None:
        """Return when so many instruments trade with the bundle. Raises TimeoutError."""
        status = Partition("status", 0)
        if self._consumer is None:
            self._consumer = await self._bus.consumer()
            await self._consumer.assign({status: 0})
        self._consumer.resume([status])
        async with asyncio.timeout(_WAIT_S):
            while len(self._swapped[bundle.sha256]) < instruments:
                for record in await self._consumer.poll(timeout_s=1.0):
                    message = decode("status", record.value, record.headers)
                    assert not isinstance(message, Rejected), message.detail
                    if isinstance(message, Swapped):
                        self._swapped[message.sha256].add(message.instrument)
        self._consumer.pause([status])  # it fetches no more beside what is measured


def quotes(world: World, count: int, *, seed: int = 0) -> list[MarketMessage]:
    """Return synthetic quotes and trades of the world's instruments, as they would come from a feeder."""
    return list(SyntheticSource(SyntheticConfig(seed=seed, ticks=count, instruments=len(world.instruments))))


def later(messages: Sequence[MarketMessage], rounds: Iterable[int]) -> Iterable[MarketMessage]:
    """Yield the messages once for each round, later on the feeder's clock by as many spans as the round's number."""
    span_ns = messages[-1].ts_recv - messages[0].ts_recv + 1_000_000
    for turn in rounds:
        for message in messages:
            yield msgspec.structs.replace(message, ts_recv=message.ts_recv + turn * span_ns)


async def preload(world: World, messages: Iterable[MarketMessage]) -> int:
    """Append all messages to `market` in batches, as fast as it goes; return how many there were."""
    producer = AIOKafkaProducer(
        bootstrap_servers=world.url.removeprefix("kafka://"), max_batch_size=MAX_BATCH_BYTES, linger_ms=0
    )
    await producer.start()
    count, batch, waiting = 0, producer.create_batch(), set[Any]()
    try:
        for message in messages:
            batch.append(timestamp=None, key=message.instrument.encode(), value=encode(message))
            count += 1
            if batch.record_count() == BATCH_RECORDS:
                waiting.add(await producer.send_batch(batch, world.prefix + "market", partition=0))
                batch = producer.create_batch()
                if len(waiting) >= 16:
                    await asyncio.wait(waiting)
                    waiting.clear()
        if batch.record_count():
            waiting.add(await producer.send_batch(batch, world.prefix + "market", partition=0))
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()
    return count
