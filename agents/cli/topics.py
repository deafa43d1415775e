"""`tickpilot topics`: create what is missing, list, check."""

import secrets
from collections.abc import Mapping

import msgspec
import typer

from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.process import run_async
from agents.settings import Settings
from messages import TOPICS
from messages.bus import cluster

app = typer.Typer(no_args_is_help=True, help="The topics of the cluster.")


@app.command()
def create(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing; nothing that exists is altered."""
    created = run_async(_create(load(settings)))
    if as_json:
        typer.echo(msgspec.json.encode(created))
    else:
        typer.echo(f"created {', '.join(created)}" if created else "all topics exist; see `tickpilot topics check`")


async def _create(settings: Settings) -> list[str]:
    bus = connect_to(settings, "topics")
    try:
        return await cluster.create_topics(
            bus, shards=settings.shards, replication=settings.replication, log_id=secrets.token_hex(16)
        )
    finally:
        await bus.stop()


@app.command("list")
def list_topics(settings: SettingsFile = None) -> None:
    """Print the registry: name, key, partitions, cleanup, who writes and who reads."""
    shards = load(settings).shards
    for topic in TOPICS.values():
        writers, readers = ", ".join(topic.written_by), ", ".join(topic.read_by)
        kinds = ", ".join(message.__name__ for message in topic.messages)
        typer.echo(f"{topic.name:13} key={topic.key} partitions={topic.partitions(shards)} cleanup={topic.cleanup}")
        typer.echo(f"{'':13} {kinds}; written by {writers}; read by {readers}")


@app.command()
def check(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Say what differs from the registry; exit status 1 when anything does."""
    found = run_async(_check(load(settings)))
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        for name, differences in found.items():
            typer.echo(f"{name}: {'; '.join(differences)}")
        if not found:
            typer.echo("all topics are as registered")
    if found:
        raise typer.Exit(1)


async def _check(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    bus = connect_to(settings, "topics")
    try:
        return await cluster.check_topics(bus, shards=settings.shards)
    finally:
        await bus.stop()
