"""`tickpilot explain`: what became of a market record, and why."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.execution.scope import Scope, shard_of
from agents.execution.shard import Shard
from agents.lifecycle.process import run_async
from agents.replay.explain import Explanation, explain
from agents.replay.record import read_recording
from agents.replay.tail import Records, by_topic, newest_of, read_newest, read_records, shard_log, source_of
from agents.replay.wording import line_of, lines_of
from agents.settings import Settings
from messages import Refused
from messages.bus.partitioner import partition_of
from messages.bus.reading import read_all


class NothingToExplain(Refused):
    """Raised when what was named is not there, or not named clearly."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"nothing to explain: {detail}")
        self.detail = detail


def explain_command(
    what: Annotated[str | None, typer.Argument(help="A partition of `market`, or an order's id.")] = None,
    offset: Annotated[int | None, typer.Argument(help="The record's offset, after a partition.")] = None,
    recording: Annotated[
        Path | None, typer.Option("--from", help="A recording's directory; without it the live bus is read.")
    ] = None,
    instrument: Annotated[str | None, typer.Option(help="Explain this instrument's newest records.")] = None,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="So many of them.")] = 20,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Say why a market record led to an order, or to none: PARTITION OFFSET, ORDER_ID, or --instrument NAME."""
    if (what is None) is (instrument is None) or (offset is not None and not (what or "").isdecimal()):
        raise NothingToExplain("name PARTITION OFFSET, or ORDER_ID, or --instrument NAME")
    asked = _Asked(what=what or "", offset=offset, instrument=instrument, last=last)
    found = _of_recording(asked, recording) if recording is not None else run_async(_of_bus(asked, load(settings)))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    for each in found:
        typer.echo(line_of(each) if instrument is not None else "\n".join(lines_of(each)))


class _Asked(Struct, frozen=True, kw_only=True):
    """What the command line names: an instrument's newest records, a record, or an order."""

    what: str
    offset: int | None
    instrument: str | None
    last: int


def _of_recording(asked: _Asked, directory: Path) -> list[Explanation]:
    recording = read_recording(directory)
    shards, records = recording.index.shards, recording.records
    if asked.instrument is not None:
        number = partition_of(asked.instrument.encode(), shards)
        offsets = newest_of(records("market", number), asked.instrument, asked.last)
    elif asked.offset is not None:
        number, offsets = _partition(asked.what, shards), [asked.offset]
    else:
        number, offsets = _decided_on(asked.what, records, shards)
    return _explained(records, number, offsets, recording.settings, shards)


async def _of_bus(asked: _Asked, settings: Settings) -> list[Explanation]:
    bus = connect_to(settings, "explain")
    try:
        shards = await bus.partition_count("market")
        if asked.instrument is not None:
            number = partition_of(asked.instrument.encode(), shards)
            offsets = await read_newest(bus, asked.instrument, number, asked.last)
        elif asked.offset is not None:
            number, offsets = _partition(asked.what, shards), [asked.offset]
        else:
            number, offsets = _decided_on(asked.what, by_topic((await read_all(bus, ["orders"]))[0]), shards)
        records = await read_records(bus, number, offsets) if offsets else by_topic([])
    finally:
        await bus.stop()
    return _explained(records, number, offsets, settings, shards)


def _partition(named: str, shards: int) -> int:
    if (number := int(named)) >= shards:
        raise NothingToExplain(f"there are partitions 0 to {shards - 1}, not {number}")
    return number


def _decided_on(order_id: str, records: Records, shards: int) -> tuple[int, list[int]]:
    for number in range(shards):
        if (source := source_of(records("orders", number), order_id)) is not None:
            return source.partition, [source.offset]
    raise NothingToExplain(f"{order_id!r} is no order on `orders`")


def _explained(records: Records, number: int, offsets: list[int], settings: Settings, shards: int) -> list[Explanation]:
    if not offsets:
        raise NothingToExplain(f"`market` holds no such record in partition {number}")
    scope = Scope(
        instruments=settings.instruments_by_name, strategies=settings.strategy_of, limits=settings.limits, trust=None
    )

    def new_shard() -> Shard:
        return shard_of(scope, number, shards, settings.execution, {})

    return explain(shard_log(records, number, offsets), offsets, new_shard)
