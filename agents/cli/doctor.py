"""`tickpilot doctor`: what is wrong with the cluster and its agents, and what to do about it."""

from collections.abc import Awaitable, Callable
from importlib.metadata import packages_distributions

import msgspec
import typer

from agents.cli.alerts import read_alerts
from agents.cli.control import read_state
from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.lifecycle.checkup import judge_agents, judge_alerts, judge_halts, judge_lag, judge_letters, judge_shards
from agents.lifecycle.process import run_async
from agents.settings import Settings
from messages import Bus, DeadLetter, Partition, SystemClock, TickpilotError
from messages.bus.checks import Finding
from messages.bus.examine import examine, read_lag
from messages.bus.reading import message_in, read_newest

_LETTERS = 500  # so many of the newest are looked at
_ORDER = {"wrong": 0, "warning": 1, "ok": 2}


def doctor(settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Look at the brokers, the topics and every agent; exit status 1 when something needs a person."""
    findings = sorted(run_async(_look(load(settings))), key=lambda finding: _ORDER[finding.level])
    needs_a_person = any(finding.level == "wrong" for finding in findings)
    if as_json:
        typer.echo(msgspec.json.encode({"needs_a_person": needs_a_person, "findings": findings}))
    else:
        for finding in findings:
            typer.echo(f"{finding.level:8} {finding.line}")
    if needs_a_person:
        raise typer.Exit(1)


async def _look(settings: Settings) -> list[Finding]:
    if settings.bus.startswith("memory://"):
        found = "memory:// lies inside one process: there is nothing to see from here"
        remedy = "name the cluster: `bus: kafka://host:port` in the settings (--settings), or TICKPILOT_BUS"
        return [*_packages(), Finding(check="bus", level="warning", found=found, remedy=remedy)]
    bus = connect_to(settings, "doctor")
    try:
        return [*_packages(), *await _look_at(bus, settings)]
    finally:
        await bus.stop()


async def _look_at(bus: Bus, settings: Settings) -> list[Finding]:
    clock = SystemClock()
    try:
        cluster = await examine(bus, shards=settings.shards, clock=clock)
    except TickpilotError as error:
        return [Finding(check="bus", level="wrong", found=str(error))]
    if any("missing" in finding.found for finding in cluster if finding.check.startswith("topic ")):
        return cluster  # nothing can have run without them

    async def state() -> list[Finding]:
        fold, heartbeats = await read_state(bus)
        now_ns = clock.now_ns()
        return [
            *judge_agents(heartbeats.values(), now_ns),
            *judge_shards(heartbeats.values(), settings.shards, now_ns),
            *judge_halts(fold.halts.in_force()),
        ]

    async def lag() -> list[Finding]:
        return judge_lag(await read_lag(bus, group=settings.execution.group, topic="market"))

    async def letters() -> list[Finding]:
        return judge_letters(await _newest_letters(bus), clock.now_ns())

    async def alerts() -> list[Finding]:
        return judge_alerts(await read_alerts(bus), clock.now_ns())

    return [
        *cluster,
        *await _guarded("agents", state),
        *await _guarded("alerts", alerts),
        *await _guarded("market", lag),
        *await _guarded("dead-letters", letters),
    ]


async def _guarded(check: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """What one look can't see must not hide what the others see."""
    try:
        return await look()
    except TickpilotError as error:
        return [Finding(check=check, level="wrong", found=f"can't be looked at: {error}")]


async def _newest_letters(bus: Bus) -> list[DeadLetter]:
    partition = Partition("dead-letters", 0)
    letters = map(message_in, await read_newest(bus, partition, _LETTERS))
    return [message for message in letters if isinstance(message, DeadLetter)]


def _packages() -> list[Finding]:
    """Another package on PyPI is imported as `agents` too: with both installed, either may be found."""
    others = [name for name in packages_distributions().get("agents", ()) if name.lower() != "tickpilot"]
    if not others:
        return []
    found = f"the package {', '.join(sorted(set(others)))} is imported as `agents` too, and may hide this one"
    return [Finding(check="packages", level="warning", found=found, remedy="install tickpilot without it")]
