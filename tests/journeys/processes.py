"""Agents as an operator runs them: one OS process each, through the command line, stderr in a file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
_TAIL_LINES = 25


class AgentProcess:
    """One `tickpilot run ...` process."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def terminate(self, *, within_s: float = 10.0) -> tuple[int, float]:
        """Send SIGTERM; return the exit status and the seconds it took. Raises TimeoutExpired."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        status = self._process.wait(within_s)
        return status, time.monotonic() - began

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._process.kill()
        self._process.wait(10)

    def tail(self) -> str:
        """Return the last lines that the process wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        state = "running" if self.is_running else f"ended with {self._process.returncode}"
        return "\n".join([f"--- {self.name} ({state})", *lines[-_TAIL_LINES:]])


class Agents:
    """All processes of a test. None outlives it; when the test fails, what they wrote last is in the failure."""

    def __init__(self, settings: Path, logs: Path) -> None:
        self._settings, self._logs = settings, logs
        self._processes: list[AgentProcess] = []
        self._may_end: list[AgentProcess] = []

    def start(self, agent: str, *, agent_id: str | None = None, settings: Path | None = None) -> AgentProcess:
        """Start `tickpilot run AGENT`."""
        name = agent_id or f"{agent}-1"
        command = ["run", agent, "--settings", str(settings or self._settings), "--agent-id", name, "--verbose"]
        process = AgentProcess(name, [sys.executable, "-m", "agents", *command], self._logs / f"{name}.log")
        self._processes.append(process)
        return process

    def add(self, process: AgentProcess) -> AgentProcess:
        """Look after a process that was started in another way."""
        self._processes.append(process)
        return process

    def check_running(self) -> None:
        """Fail with what it wrote if one that was not stopped on purpose has ended."""
        for process in self._processes:
            assert process.is_running or process in self._may_end, process.tail()

    def stop(self, *processes: AgentProcess, within_s: float = 10.0) -> None:
        """Stop processes one after the other by SIGTERM: each must end in time with status 0."""
        for process in processes:
            status, took_s = process.terminate(within_s=within_s)
            self._processes.remove(process)
            assert status == 0, process.tail()
            print(f"{process.name} stopped in {took_s:.1f} s")  # noqa: T201 - figures of a journey

    def kill(self, process: AgentProcess) -> None:
        """Kill a process by SIGKILL."""
        process.kill()
        self._processes.remove(process)

    def forget(self, process: AgentProcess) -> None:
        """Leave a process to the caller, who ends it."""
        self._processes.remove(process)

    def freeze(self, process: AgentProcess) -> None:
        """Stop a process from running, as it happens to a machine that swaps or is moved: it does not notice."""
        process.signal(signal.SIGSTOP)

    def thaw(self, process: AgentProcess) -> None:
        """Let a frozen process go on; from now on it may end by itself, fenced."""
        self._may_end.append(process)
        process.signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for process in self._processes:
                error.add_note(process.tail())
        for process in self._processes:
            process.kill()


def run_command(*command: str, timeout_s: float = 60.0) -> str:
    """Run one `tickpilot` command to its end and return what it printed; fail with its stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "agents", *command],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _environment() -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TICKPILOT_")}
