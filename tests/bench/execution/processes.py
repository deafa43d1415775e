"""Processes that are measured: started on chosen cores, their processor time and memory read from /proc."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STOP_S = 15.0


class Sample(NamedTuple):
    """One look at a process: wall clock in ns, processor time in s."""

    at_ns: int
    cpu_s: float


class Process:
    """A child process; its own threads count, its children do not."""

    def __init__(self, command: Sequence[str], *, log: Path, cores: Sequence[int] | None = None) -> None:
        before = os.sched_getaffinity(0)
        try:
            if cores is not None:
                os.sched_setaffinity(0, cores)  # the child inherits it, with all the threads that it will have
            with log.open("ab") as out:
                self._child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        finally:
            os.sched_setaffinity(0, before)
        self.log = log

    @property
    def pid(self) -> int:
        return self._child.pid

    def sample(self) -> Sample:
        """Look now. Raises AssertionError, with what it wrote, when the process has ended."""
        assert self._child.poll() is None, self.log.read_text()[-2000:]
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return Sample(time.time_ns(), (int(fields[11]) + int(fields[12])) * _TICK_S)

    def resident_mb(self) -> float:
        """Return the memory that the process holds, in 1e6 bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE / 1e6

    def stop(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(_STOP_S)


@contextmanager
def running(command: Sequence[str], *, log: Path, cores: Sequence[int] | None = None) -> Iterator[Process]:
    """Run a program while the block runs."""
    process = Process(command, log=log, cores=cores)
    try:
        yield process
    finally:
        process.stop()


def execution_agent(settings_file: Path) -> list[str]:
    """Return the command line of an Execution agent."""
    return [sys.executable, "-m", "agents", "run", "execution", "--settings", str(settings_file), "--verbose"]


@contextmanager
def on_cores(pid: int, cores: Sequence[int]) -> Iterator[None]:
    """Keep a running process, with all its threads, on these cores while the block runs."""
    before = os.sched_getaffinity(pid)
    _place(pid, cores)
    try:
        yield
    finally:
        _place(pid, before)


def _place(pid: int, cores: Sequence[int] | set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:  # a thread that has ended meanwhile
            continue
