"""`tickpilot schema`: the messages and topics for clients in any language."""

from importlib.metadata import version
from typing import Any

import msgspec
import typer

from agents.cli.options import SettingsFile, load
from messages.asyncapi import asyncapi
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
    )
    _print(document)


def _print(document: dict[str, Any]) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
