"""`tickpilot schema`: the messages for clients in any language."""

import msgspec
import typer

from messages.schema import json_schema

app = typer.Typer(no_args_is_help=True, help="Schemas of the messages.")


@app.callback()
def _group() -> None: ...


@app.command("json")
def as_json_schema() -> None:
    """Print the JSON Schema (2020-12) of every message, and which topic holds which."""
    typer.echo(msgspec.json.format(msgspec.json.encode(json_schema()), indent=2))
