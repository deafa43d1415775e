"""`tickpilot halt`, `resume`, `flatten`, `status`: what an operator writes to `control`, and what it says now."""

from typing import Annotated

import msgspec
import typer

from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.process import run_async
from agents.settings import Settings
from messages import (
    Bus,
    Flatten,
    Halt,
    Heartbeat,
    NewRecord,
    Refused,
    Resume,
    SystemClock,
    control_key,
    decode,
    encode,
)
from messages.bus.reading import read_all
from messages.control import ControlMessage, HaltLevel
from messages.control_fold import ControlFold

Who = Annotated[str, typer.Option("--who", help="Your name, for the log.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log.")]
ScopeOption = Annotated[str, typer.Option("--scope", help="portfolio, strategy:NAME or instrument:NAME.")]


def halt(
    who: Who,
    reason: Reason,
    scope: ScopeOption = "portfolio",
    reducing: Annotated[bool, typer.Option("--reducing", help="Allow orders that only reduce.")] = False,
    settings: SettingsFile = None,
) -> None:
    """Stop trading at once; it stays so until `resume`."""
    level: HaltLevel = "reducing" if reducing else "halted"
    message = Halt(scope=scope, level=level, writer=who, reason=reason, ts=SystemClock().now_ns())
    typer.echo(f"written at control offset {run_async(_write(load(settings), message))}")


def resume(who: Who, reason: Reason, scope: ScopeOption = "portfolio", settings: SettingsFile = None) -> None:
    """Clear the halts of a scope that are in force now; one that is written meanwhile stays."""
    run_async(_resume(load(settings), who, reason, scope))


def flatten(
    who: Who,
    reason: Reason,
    scope: ScopeOption = "portfolio",
    off: Annotated[bool, typer.Option("--off", help="Switch flattening off again.")] = False,
    settings: SettingsFile = None,
) -> None:
    """Close the positions of a scope with reduce-only orders, until switched off."""
    message = Flatten(scope=scope, on=not off, who=who, reason=reason, ts=SystemClock().now_ns())
    typer.echo(f"written at control offset {run_async(_write(load(settings), message))}")


def status(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Say what is live, halted and alive."""
    view = run_async(_status(load(settings)))
    if as_json:
        typer.echo(msgspec.json.encode(view))
        return
    for title, lines in view.items():
        typer.echo(f"{title}:")
        for line in lines or ["none"]:
            typer.echo(f"  {line}")


async def _write(settings: Settings, message: ControlMessage) -> int:
    bus = connect_to(settings, "operator")
    try:
        producer = await bus.producer()
        try:
            return await producer.publish(
                "control", NewRecord(key=control_key(message).encode(), value=encode(message))
            )
        finally:
            await producer.stop()
    finally:
        await bus.stop()


async def _resume(settings: Settings, who: str, reason: str, scope: str) -> None:
    fold, _ = await _read(settings)
    halts = [halted for halted in fold.halts.in_force() if halted.scope == scope]
    if not halts:
        typer.echo(f"nothing halts {scope}")
        return
    message = Resume(
        scope=scope, clears=tuple(h.offset for h in halts), who=who, reason=reason, ts=SystemClock().now_ns()
    )
    await _write(settings, message)
    for halted in halts:
        typer.echo(f"cleared {halted.level} of {halted.writer}: {halted.reason}")


async def _status(settings: Settings) -> dict[str, list[str]]:
    fold, heartbeats = await _read(settings)
    now_ns = SystemClock().now_ns()
    return {
        "live": [f"{strategy} {name}: {active.bundle_id}" for (strategy, name), active in sorted(fold.active.items())],
        "halted": [f"{h.scope} {h.level} by {h.writer}: {h.reason}" for h in fold.halts.in_force()],
        "flattening": sorted(fold.flattening),
        "agents": [
            f"{beat.agent_id}: {beat.state}, {(now_ns - beat.ts) / 1e9:.1f} s ago" for beat in heartbeats.values()
        ],
    }


async def _read(settings: Settings) -> tuple[ControlFold, dict[str, Heartbeat]]:
    bus = connect_to(settings, "operator")
    try:
        return await read_state(bus)
    finally:
        await bus.stop()


async def read_state(bus: Bus) -> tuple[ControlFold, dict[str, Heartbeat]]:
    """Return what `control` says now, and the newest heartbeat of each agent."""
    records, _ = await read_all(bus, ["control", "status"])
    fold, heartbeats = ControlFold(), dict[str, Heartbeat]()
    for record in records:
        try:
            message = decode(record.topic, record.value, record.headers)
        except Refused:
            continue
        if isinstance(message, Heartbeat):
            heartbeats[message.agent_id] = message
        elif isinstance(message, ControlMessage):
            fold.apply(record.offset, message)
    return fold, heartbeats
