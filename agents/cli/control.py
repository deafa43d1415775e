"""`tickpilot halt`, `resume`, `flatten`, `override`, `status`: what operators write to `control`, and read of it.

What moves bundles is in rollout.py.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from agents.cli.alerts import read_alerts
from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.checkup import alert_line, recent_alerts
from agents.lifecycle.process import run_async
from agents.settings import Settings
from messages import (
    Alert,
    Bus,
    Flatten,
    Halt,
    Heartbeat,
    NewRecord,
    Override,
    Refused,
    Resume,
    SystemClock,
    control_key,
    encode,
)
from messages.bus.reading import message_in, read_all
from messages.control import ControlMessage, HaltLevel
from messages.control_fold import ControlFold

Who = Annotated[str, typer.Option("--who", help="Your name, for the log.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log.")]
ScopeOption = Annotated[str, typer.Option("--scope", help="portfolio, strategy:NAME or instrument:NAME.")]


class OverrideRefused(Refused):
    """Raised when an override makes no sense, or did not count."""

    def __init__(self, instrument: str, detail: str) -> None:
        super().__init__(f"override of {instrument}: {detail}")
        self.instrument, self.detail = instrument, detail


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
    typer.echo(f"written at control offset {run_async(write_control(load(settings), message))[0]}")


def resume(who: Who, reason: Reason, scope: ScopeOption = "portfolio", settings: SettingsFile = None) -> None:
    """Clear the halts of a scope that are in force now; one that is written meanwhile stays.

    It also says that you have looked: the repeated-execution throttle opens, and a disputed report is settled.
    """
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
    typer.echo(f"written at control offset {run_async(write_control(load(settings), message))[0]}")


def override(
    instrument: Annotated[str, typer.Argument(help="As in the settings.")],
    who: Who,
    reason: Reason,
    target: Annotated[
        float | None, typer.Option("--target", help="The wanted position, in units; below 0: short.")
    ] = None,
    release: Annotated[bool, typer.Option("--release", help="Let the policy decide again.")] = False,
    settings: SettingsFile = None,
) -> None:
    """Set an instrument's position by hand, until it is released. Limits hold as ever."""
    loaded = load(settings)
    if (target is None) is not release:
        raise OverrideRefused(instrument, "give either --target or --release")
    reference = loaded.instruments_by_name.get(instrument)
    if reference is None or instrument not in loaded.strategy_of:
        raise OverrideRefused(
            instrument, f"is not traded; the settings trade {', '.join(loaded.strategy_of) or 'nothing'}"
        )
    if target is not None and reference.lots(target) is None:
        raise OverrideRefused(instrument, f"{target:g} is no multiple of its quantity_step {reference.quantity_step:g}")
    offset = run_async(_override(loaded, loaded.strategy_of[instrument], instrument, target, who, reason))
    typer.echo(f"written at control offset {offset}")


def status(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Say what is live, halted and alive, and what was told within the last hour."""
    view = run_async(_status(load(settings)))
    if as_json:
        typer.echo(msgspec.json.encode(view))
        return
    now_ns = SystemClock().now_ns()
    for title, entries in view.items():
        typer.echo(f"{title}:")
        for entry in entries or ["none"]:
            typer.echo(f"  {alert_line(entry, now_ns) if isinstance(entry, Alert) else entry}")


async def write_control(settings: Settings, *messages: ControlMessage) -> list[int]:
    """Write messages to `control`, in order; return their offsets."""
    bus = connect_to(settings, "operator")
    try:
        producer = await bus.producer()
        try:
            return [
                await producer.publish("control", NewRecord(key=control_key(message).encode(), value=encode(message)))
                for message in messages
            ]
        finally:
            await producer.stop()
    finally:
        await bus.stop()


async def _override(
    settings: Settings, strategy: str, instrument: str, target: float | None, who: str, reason: str
) -> int:
    fold, _ = await read_control(settings)
    message = Override(
        strategy=strategy,
        instrument=instrument,
        expects=fold.last_offset(f"override/{strategy}/{instrument}"),
        who=who,
        reason=reason,
        ts=SystemClock().now_ns(),
        target=target,
    )
    (offset,) = await write_control(settings, message)
    fold, _ = await read_control(settings)
    if fold.overrides.get((strategy, instrument)) != target:
        raise OverrideRefused(
            instrument, "somebody else wrote at the same time; look at `tickpilot status`, then repeat"
        )
    return offset


async def _resume(settings: Settings, who: str, reason: str, scope: str) -> None:
    fold, _ = await read_control(settings)
    halts = [halted for halted in fold.halts.in_force() if halted.scope == scope]
    if not halts:
        typer.echo(f"nothing halts {scope}")
    message = Resume(
        scope=scope, clears=tuple(h.offset for h in halts), who=who, reason=reason, ts=SystemClock().now_ns()
    )
    await write_control(settings, message)
    for halted in halts:
        typer.echo(f"cleared {halted.level} of {halted.writer}: {halted.reason}")


async def _status(settings: Settings) -> dict[str, Sequence[str | Alert]]:
    bus = connect_to(settings, "operator")
    try:
        fold, heartbeats = await read_state(bus)
        alerts = await read_alerts(bus)
    finally:
        await bus.stop()
    now_ns = SystemClock().now_ns()
    return {
        "live": [f"{strategy} {name}: {active.bundle_id}" for (strategy, name), active in sorted(fold.active.items())],
        "shadowed": [
            f"{strategy} {name}: {shadow.bundle_id}" for (strategy, name), shadow in sorted(fold.shadows.items())
        ],
        "halted": [f"{h.scope} {h.level} by {h.writer}: {h.reason}" for h in fold.halts.in_force()],
        "flattening": sorted(fold.flattening),
        "overridden": [f"{strategy} {name}: {target:g}" for (strategy, name), target in sorted(fold.overrides.items())],
        "agents": [
            f"{beat.agent_id}: {beat.state}, {(now_ns - beat.ts) / 1e9:.1f} s ago" for beat in heartbeats.values()
        ],
        "alerts": recent_alerts(alerts, now_ns),
    }


async def read_control(settings: Settings) -> tuple[ControlFold, dict[str, Heartbeat]]:
    """Return what `control` on the settings' bus says now, and the newest heartbeat of each agent."""
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
        message = message_in(record)
        if isinstance(message, Heartbeat):
            heartbeats[message.agent_id] = message
        elif isinstance(message, ControlMessage):
            fold.apply(record.offset, message)
    return fold, heartbeats
