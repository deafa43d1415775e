"""A log on disk: one Parquet file for each topic, the settings, and the bundles and keys that it needs."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from agents.assembly import scope_of
from agents.errors import SettingsError
from agents.replay.replay import Replayed, explained, logged_steps, replay
from agents.settings import Settings, parse_settings, without_security
from bundles.registry import read_files
from messages import TOPICS, Bus, Partition, Record, Refused
from messages.bus.reading import message_in, read_range
from messages.control import Rollout, Shadow
from messages.decisions import BundleActivated, BundleShadowed

FORMAT = 1
RECORDED = tuple(TOPICS)
_READ_FIRST = ("decisions", "orders")  # what they speak of is on the other topics already
_INDEX = "recording.json"

Records = Callable[[str, int], Sequence[Record]]


class RecordingBroken(Refused):
    """Raised when a directory is no recording, or not a whole one."""

    def __init__(self, directory: Path, detail: str) -> None:
        super().__init__(f"recording {directory}: {detail}; record it again with `tickpilot record`")
        self.directory, self.detail = directory, detail


class RecordingIndex(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """recording.json: what the recording holds. `settings` are those that the log was made with."""

    format: int
    shards: int
    records: dict[str, int]
    settings: dict[str, Any]


class Recording:
    """A recording that was read: records by topic and partition, and all that a replay needs."""

    def __init__(self, directory: Path, index: RecordingIndex, records: Mapping[Partition, Sequence[Record]]) -> None:
        self.directory, self.index = directory, index
        self._records = records

    @cached_property
    def settings(self) -> Settings:
        """The settings of the log, with the keys that lie in the recording."""
        settings = parse_settings(self.index.settings, where=f"of {self.directory}")
        return msgspec.structs.replace(settings, trust=str(self.directory / "trust"))

    def records(self, topic: str, partition: int) -> Sequence[Record]:
        """Return one partition's records in offset order."""
        return self._records.get(Partition(topic, partition), ())

    def replay(self) -> Replayed:
        """Re-derive every order with the same core. Raises BundleRefused when a bundle is missing or doesn't pass."""
        settings = self.settings
        return replay(
            self.records,
            partitions=self.index.shards,
            scope=scope_of(settings),
            config=settings.execution,
            bundles_dir=self.directory / "bundles",
        )


async def record_bus(bus: Bus, directory: Path, settings: Settings) -> RecordingIndex:
    """Write everything that is on the topics now, and the bundles that traded, to `directory`.

    Of shards that run, `orders` ends where `decisions` and its own headers explain it.
    """
    records: dict[Partition, Sequence[Record]] = {}
    for topic in (*_READ_FIRST, *(name for name in RECORDED if name not in _READ_FIRST)):
        partitions = [Partition(topic, number) for number in range(await bus.partition_count(topic))]
        consumer = await bus.consumer()
        try:
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()
        for partition in partitions:
            records[partition] = await read_range(bus, {partition: (begins[partition], ends[partition])})
    shards = await bus.partition_count("market")
    for orders, decisions in ((Partition("orders", n), Partition("decisions", n)) for n in range(shards)):
        records[orders] = explained(records[orders], records[decisions])
    write_recording(directory, records, settings=settings, shards=shards)
    return read_index(directory)


def write_recording(
    directory: Path, records: Mapping[Partition, Sequence[Record]], *, settings: Settings, shards: int
) -> None:
    """Write records, settings, trusted keys and bundles. Bundles are copied from where `control` says they are."""
    directory.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    for topic in RECORDED:
        rows = [record for partition, found in records.items() if partition.topic == topic for record in found]
        counts[topic] = len(rows)
        _write_parquet(directory / f"{topic}.parquet", rows)
    _copy_trust(directory, settings)
    _copy_bundles(directory, records, shards)
    written = msgspec.to_builtins(without_security(settings))
    index = RecordingIndex(format=FORMAT, shards=shards, records=counts, settings=written)
    (directory / _INDEX).write_bytes(msgspec.json.format(msgspec.json.encode(index), indent=1))


def read_index(directory: Path) -> RecordingIndex:
    """Return recording.json. Raises RecordingBroken."""
    try:
        return msgspec.json.decode((directory / _INDEX).read_bytes(), type=RecordingIndex)
    except (OSError, msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise RecordingBroken(directory, str(error)) from error


def read_recording(directory: Path) -> Recording:
    """Return the recording in a directory. Raises RecordingBroken when a file is missing or has lost records."""
    index = read_index(directory)
    records: dict[Partition, list[Record]] = {}
    for topic, count in index.records.items():
        rows = _read_parquet(directory, topic)
        if len(rows) != count:
            raise RecordingBroken(directory, f"{topic}.parquet has {len(rows)} records, {count} were written")
        for record in rows:
            records.setdefault(Partition(topic, record.partition), []).append(record)
    return Recording(directory, index, records)


def _copy_trust(directory: Path, settings: Settings) -> None:
    target = directory / "trust"
    target.mkdir(exist_ok=True)
    if settings.trust is not None and Path(settings.trust).resolve() != target.resolve():
        for path in Path(settings.trust).iterdir():
            if path.suffix == ".pub" or path.name == "revoked":
                shutil.copy(path, target / path.name)


def _copy_bundles(directory: Path, records: Mapping[Partition, Sequence[Record]], shards: int) -> None:
    places = dict(_rolled_out(records.get(Partition("control", 0), ())))
    for number in range(shards):
        decisions, orders = (records.get(Partition(topic, number), ()) for topic in ("decisions", "orders"))
        for logged in logged_steps(decisions, orders):
            for applied in logged.step.inputs:
                if isinstance(applied, BundleActivated | BundleShadowed) and applied.sha256 in places:
                    _copy_bundle(directory / "bundles" / applied.sha256, places.pop(applied.sha256))


def _copy_bundle(target: Path, uri: str) -> None:
    if target.exists():
        return
    target.mkdir(parents=True)
    for name, content in read_files(uri).items():
        (target / name).write_bytes(content)


def _rolled_out(control: Iterable[Record]) -> Iterable[tuple[str, str]]:
    for record in control:
        message = message_in(record)
        if isinstance(message, Rollout | Shadow) and message.sha256 is not None and message.uri is not None:
            yield message.sha256, message.uri


def _write_parquet(path: Path, records: Sequence[Record]) -> None:
    pyarrow, parquet = _arrow()
    schema = pyarrow.schema(
        [
            ("partition", pyarrow.int32()),
            ("offset", pyarrow.int64()),
            ("timestamp_ms", pyarrow.int64()),
            ("key", pyarrow.binary()),
            ("value", pyarrow.binary()),
            ("headers", pyarrow.list_(pyarrow.struct([("name", pyarrow.string()), ("value", pyarrow.binary())]))),
        ]
    )
    columns = {
        "partition": [record.partition for record in records],
        "offset": [record.offset for record in records],
        "timestamp_ms": [record.timestamp_ms for record in records],
        "key": [record.key for record in records],
        "value": [record.value for record in records],
        "headers": [[{"name": name, "value": value} for name, value in record.headers] for record in records],
    }
    parquet.write_table(pyarrow.table(columns, schema=schema), path, compression="zstd")


def _read_parquet(directory: Path, topic: str) -> list[Record]:
    _, parquet = _arrow()
    path = directory / f"{topic}.parquet"
    try:
        table = parquet.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise RecordingBroken(directory, f"{path.name}: {error}") from error
    return [
        Record(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=key,
            value=value,
            headers=tuple((header["name"], header["value"]) for header in headers),
        )
        for partition, offset, timestamp_ms, key, value, headers in zip(*table.values(), strict=True)
    ]


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SettingsError("recording", "needs pyarrow; install tickpilot with the extra `data`") from error
    return pa, parquet
