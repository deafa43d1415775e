"""A process of agents: start them in order, run until a signal or a failure, stop them in reverse, bounded."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from agents.lifecycle.agent import Agent
from agents.lifecycle.garbage import calm_garbage_collector
from agents.lifecycle.supervisor import Supervisor
from agents.lifecycle.threads import give_way_soon
from messages import TickpilotError

STOP_TIMEOUT_S = 9.0
START_TIMEOUT_S = 120.0
_log = logging.getLogger(__name__)


T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop where there is one, else on asyncio's loop."""
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


async def run_agents(agents: Sequence[Agent], *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Start, run and stop agents; SIGINT and SIGTERM stop them. Raises the first failure after all are stopped."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    started: list[Agent] = []
    tasks = Supervisor()
    try:
        for agent in agents:
            started.append(agent)
            await asyncio.wait_for(agent.start(), START_TIMEOUT_S)
            tasks.spawn(agent.run(), agent.agent_id)
            _log.info("%s started", agent.agent_id)
        calm_garbage_collector()
        give_way_soon()
        tasks.spawn(_stop_when(stop, tasks), "signal")
        await tasks.wait()
    finally:
        await stop_agents(started, timeout_s=timeout_s)
        await tasks.stop()


async def _stop_when(stop: asyncio.Event, tasks: Supervisor) -> None:
    await stop.wait()
    tasks.request_stop()


async def stop_agents(agents: Sequence[Agent], *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Stop in reverse order within one deadline; what fails is logged, the rest is stopped all the same."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    for agent in reversed(agents):
        try:
            async with asyncio.timeout_at(deadline):
                await agent.stop()
            _log.info("%s stopped", agent.agent_id)
        except (TimeoutError, TickpilotError) as error:
            _log.warning("%s did not stop cleanly: %s", agent.agent_id, error or "out of time")
