"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from agents.settings import Settings, read_settings
from messages import Bus, connect

SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings", "-s", envvar="TICKPILOT_SETTINGS", help="YAML settings file; `tickpilot init` prints one."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def connect_to(settings: Settings, client: str) -> Bus:
    """Return a connection to the settings' bus."""
    return connect(
        settings.bus, client=client, prefix=settings.prefix, security=settings.security, timeouts=settings.kafka
    )


def load(path: Path | None) -> Settings:
    """Return the settings of a file, or the defaults and the environment."""
    return read_settings(path)
