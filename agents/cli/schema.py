"""`tickpilot schema`: the messages and topics for clients in any language."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agents.cli.options import SettingsFile, load
from messages.asyncapi import asyncapi
from messages.growth import changes
from messages.schema import json_schema

app = typer.Typer(no_args_is_help=True, help="Schemas of the messages and topics.")
_ANYWHERE = "localhost:9092"


@app.callback()
def _group() -> None: ...


@app.command("json")
def as_json_schema() -> None:
    """Print the JSON Schema (2020-12) of every message, and which topic holds which."""
    _print(json_schema())


@app.command("asyncapi")
def as_asyncapi(settings: SettingsFile = None) -> None:
    """Print the AsyncAPI 3.0 document of the settings' cluster: topics, messages, who sends and who receives."""
    loaded = load(settings)
    scheme, _, hosts = loaded.bus.partition("://")
    document = asyncapi(
        version=version("tickpilot"),
        shards=loaded.shards,
        replication=loaded.replication,
        prefix=loaded.prefix,
        brokers=hosts.split(",") if scheme == "kafka" else (_ANYWHERE,),
        is_secure=loaded.security.tls,
    )
    _print(document)


@app.command("check")
def check(
    old: Annotated[Path, typer.Argument(help="What `tickpilot schema json` printed for another version.")],
) -> None:
    """Say what has changed on the wire since OLD; exit status 1 when it breaks readers or writers of then."""
    try:
        found = changes(msgspec.json.decode(old.read_bytes()), json_schema())
    except (OSError, msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        typer.echo(f"{old} is not what `tickpilot schema json` prints: {error!r}", err=True)
        raise typer.Exit(2) from error
    for change in found:
        typer.echo(str(change))
    if not found:
        typer.echo("nothing has changed")
    if any(change.breaks for change in found):
        raise typer.Exit(1)


def _print(document: dict[str, Any]) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
