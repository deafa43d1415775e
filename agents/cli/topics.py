"""`tickpilot topics`: create what is missing, list, check."""

import secrets
from collections.abc import Mapping, Sequence

import msgspec
import typer
from msgspec import Struct

from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.process import run_async
from agents.settings import Settings
from messages import TOPICS, Topic
from messages.bus import cluster
from messages.schema import roles

app = typer.Typer(no_args_is_help=True, help="The topics of the cluster.")
Differences = Mapping[str, Sequence[str]]


class Created(Struct, frozen=True):
    """What `create` did, and what it found and let be."""

    created: list[str]
    differs: Differences


class Listed(Struct, frozen=True):
    """One topic as it is registered; `retention_ms` of -1 keeps records for ever."""

    name: str
    key: str
    partitions: int
    cleanup: str
    retention_ms: int
    config: dict[str, str]
    messages: list[str]
    written_by: tuple[str, ...]
    read_by: tuple[str, ...]


@app.command()
def create(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing; nothing that exists is altered.

    Exit status 1 when one that exists is not as registered.
    """
    loaded = load(settings)
    answer = run_async(_create(loaded))
    if as_json:
        typer.echo(msgspec.json.encode(answer))
    else:
        typer.echo(f"created {', '.join(answer.created)}" if answer.created else "all topics exist")
        _say(answer.differs, loaded)
    if answer.differs:
        raise typer.Exit(1)


async def _create(settings: Settings) -> Created:
    bus = connect_to(settings, "topics")
    try:
        created = await cluster.create_topics(
            bus, shards=settings.shards, replication=settings.replication, log_id=secrets.token_hex(16)
        )
        return Created(created, await cluster.check_topics(bus, shards=settings.shards))
    finally:
        await bus.stop()


@app.command("list")
def list_topics(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Print the registry: name, key, partitions, cleanup, retention, messages, who writes and who reads."""
    shards = load(settings).shards
    listed = [_listed(topic, shards) for topic in TOPICS.values()]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(listed), indent=2))
        return
    for topic in listed:
        kept = "compacted" if topic.cleanup == "compact" else _duration(topic.retention_ms)
        typer.echo(f"{topic.name:13} key={topic.key} partitions={topic.partitions} cleanup={topic.cleanup} kept={kept}")
        typer.echo(f"{'':13} {', '.join(topic.messages)}. {roles(TOPICS[topic.name])}")


def _listed(topic: Topic, shards: int) -> Listed:
    return Listed(
        name=topic.name,
        key=topic.key,
        partitions=topic.partitions(shards),
        cleanup=topic.cleanup,
        retention_ms=-1 if topic.cleanup == "compact" else topic.retention_ms,
        config=topic.broker_config(),
        messages=[message.__name__ for message in topic.messages],
        written_by=topic.written_by,
        read_by=topic.read_by,
    )


def _duration(retention_ms: int) -> str:
    return "forever" if retention_ms < 0 else f"{retention_ms / 86_400_000:g}d"


@app.command()
def check(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Say what differs from the registry and what to do; exit status 1 when anything does."""
    loaded = load(settings)
    found = run_async(_check(loaded))
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        _say(found, loaded)
        if not found:
            typer.echo("all topics are as registered")
    if found:
        raise typer.Exit(1)


async def _check(settings: Settings) -> Differences:
    bus = connect_to(settings, "topics")
    try:
        return await cluster.check_topics(bus, shards=settings.shards)
    finally:
        await bus.stop()


def _say(differences: Differences, settings: Settings) -> None:
    for name, found in differences.items():
        typer.echo(f"{name}: {'; '.join(found)}")
    for remedy in cluster.remedies(differences, prefix=settings.prefix):
        typer.echo(f"-> {remedy}")
