"""How commands answer: text for people, JSON for scripts, one line and exit status 1 for what is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import typer

from messages import TickpilotError


@contextmanager
def refusals(*, json: bool) -> Iterator[None]:
    """Show an error of ours and exit with status 1."""
    try:
        yield
    except TickpilotError as error:
        code = getattr(error, "code", None)
        if json:
            typer.echo(msgspec.json.encode({"accepted": False, "code": code, "error": str(error)}).decode())
        else:
            typer.echo(" ".join(str(error).split()), err=True)
        raise typer.Exit(1) from error


def show(content: dict[str, Any], *, json: bool) -> None:
    """Print an answer: a line for each of its values."""
    if json:
        typer.echo(msgspec.json.encode(content).decode())
        return
    for name, value in content.items():
        typer.echo(f"{name:<12} {value if isinstance(value, str | int) else msgspec.json.encode(value).decode()}")
