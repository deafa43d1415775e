"""A program: a replica of Execution that notes how long each step took, and how late the event loop was.

python -m tests.drills.exactness.timed_replica SETTINGS AGENT_ID FILE

SIGTERM ends it in order; then FILE gets two arrays, times in nanoseconds of the clock that all processes share:
`steps` (end, took, records decided) and `late` (when, by how much a sleep of a millisecond was too long).
"""

import logging
import sys
from pathlib import Path

import numpy as np

from agents.assembly import build_agent
from agents.cli.options import connect_to, load
from agents.lifecycle.process import run_agents, run_async
from agents.lifecycle.supervisor import Supervisor
from agents.settings import Settings
from bundles.verifier.process import ForkedProcess, fork_process
from messages import Clock, LoggedStep, SystemClock

_SLEEP_S = 0.001


async def main(settings: Settings, agent_id: str, file: Path, verifier: ForkedProcess | None) -> None:
    """Run the replica until the signal."""
    clock, bus, tasks = SystemClock(), connect_to(settings, agent_id), Supervisor()
    steps, late = list[tuple[int, int, int]](), list[tuple[int, int]]()

    def on_step(logged: LoggedStep, _: int, took_ns: int) -> None:
        steps.append((clock.perf_ns(), took_ns, len(logged.decisions)))

    agent = build_agent(
        "execution", settings, bus=bus, clock=clock, agent_id=agent_id, on_step=on_step, verifier=verifier
    )
    tasks.spawn(_watch(clock, late), "watch")
    try:
        await run_agents([agent])
    finally:
        await tasks.stop()
        await bus.stop()
        np.savez(file, steps=np.array(steps, np.int64).reshape(-1, 3), late=np.array(late, np.int64).reshape(-1, 2))


async def _watch(clock: Clock, late: list[tuple[int, int]]) -> None:
    while True:
        began_ns = clock.perf_ns()
        await clock.sleep(_SLEEP_S)
        now_ns = clock.perf_ns()
        late.append((now_ns, now_ns - began_ns - round(_SLEEP_S * 1e9)))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("agents").setLevel(logging.INFO)
    loaded = load(Path(sys.argv[1]))
    run_async(main(loaded, sys.argv[2], Path(sys.argv[3]), fork_process(loaded.execution.decisions.runtime)))
