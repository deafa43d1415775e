"""`tickpilot run` and `tickpilot init`."""

import logging
import secrets
from typing import Annotated

import msgspec
import typer

from agents.assembly import AGENTS, build_agent
from agents.cli.options import AsJson, SettingsFile, connect_to, load
from agents.cli.tables import limits_tables
from agents.lifecycle.metrics import serving_metrics
from agents.lifecycle.process import run_agents, run_async
from agents.risk.limits.effective import effective_limits
from agents.risk.limits.in_force import LimitsInForce
from agents.settings import EXAMPLE, Settings, shown
from agents.venue.latency import latency_of
from bundles.verifier.process import ForkedProcess, fork_process
from messages import Bus, Clock, SystemClock
from messages.bus.checks import require
from messages.bus.cluster import create_topics
from messages.bus.examine import examine
from messages.bus.security import client_arguments

_log = logging.getLogger(__name__)


def run(
    agent: Annotated[str, typer.Argument(help=f"One of {', '.join(AGENTS)}, or all.")],
    settings: SettingsFile = None,
    agent_id: Annotated[str | None, typer.Option(help="Name in the cluster; default AGENT-1.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Print the effective settings and limits, and stop.")] = False,
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, not only what is wrong.")] = False,
) -> None:
    """Run one agent, or all of them in this process, until SIGINT or SIGTERM."""
    if verbose:
        logging.getLogger("agents").setLevel(logging.INFO)
    loaded = load(settings)
    names = AGENTS if agent == "all" else (agent,)
    if check:
        client_arguments(loaded.security)  # reads the files that it names
        latency_of(loaded.venue)
        typer.echo(_checked(loaded, as_json=as_json), nl=False)
        return
    verifier = fork_process(loaded.execution.decisions.runtime) if "execution" in names else None
    run_async(_run(names, loaded, agent_id, verifier))


def _checked(settings: Settings, *, as_json: bool) -> str:
    """Return the settings without secrets, and the limits that come of them."""
    effective = effective_limits(LimitsInForce(settings.limits, partitions=settings.shards), settings.strategy_of)
    if not as_json:
        return msgspec.yaml.encode(shown(settings)).decode() + "\n" + limits_tables(effective)
    values = {**shown(settings), "effective_limits": msgspec.to_builtins(effective)}
    return msgspec.json.format(msgspec.json.encode(values), indent=2).decode() + "\n"


async def _run(
    names: tuple[str, ...], settings: Settings, agent_id: str | None, verifier: ForkedProcess | None
) -> None:
    clock = SystemClock()
    bus = connect_to(settings, agent_id or "-".join(names))
    try:
        agents = [
            build_agent(
                name,
                settings,
                bus=bus,
                clock=clock,
                agent_id=agent_id if len(names) == 1 else None,
                verifier=verifier if name == "execution" else None,
            )
            for name in names
        ]
        await _prepare(bus, settings, clock)
        async with serving_metrics(bus, clock, host=settings.metrics_host, port=settings.metrics_port):
            await run_agents(agents)
    finally:
        await bus.stop()


async def _prepare(bus: Bus, settings: Settings, clock: Clock) -> None:
    """Refuse a cluster that agents must not start on; what is merely doubtful is logged."""
    if settings.bus.startswith("memory://"):
        _log.warning("the bus is in the memory of this process: nobody else can feed it, nothing is kept")
        await create_topics(bus, shards=settings.shards, log_id=secrets.token_hex(16))
    findings = await examine(bus, shards=settings.shards, clock=clock)
    require(findings)
    for finding in findings:
        if finding.level == "warning":
            _log.warning("%s", finding.line)


def init() -> None:
    """Print a commented settings file."""
    typer.echo(EXAMPLE, nl=False)
