"""The owner of background tasks: it notices every death, and stopping is bounded.

One rule for failures. A Retryable error (the bus was slow or away) is no death: the task begins again after a pause,
where its consumer stands. Anything else (Fatal, Refused, a bug) ends the agent, and with it the process.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from messages.clock import Clock
from messages.errors import BusTimeout, Retryable

PAUSE_S, MAX_PAUSE_S = 0.25, 2.0
WELL_S = 10.0  # after so long a task is well again, and the next pause is short
_log = logging.getLogger(__name__)


class Supervisor:
    """Owns an agent's tasks. A task that raises ends `wait` with that error; one that returns is simply done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._is_stopping = self._is_stopped = False

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` in the background under this owner; once `stop` was called it is cancelled before it begins."""
        task = self._own(work, name)
        if self._is_stopped:
            task.cancel()
        return task

    def _own(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._changed.set())
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, Any]], name: str, clock: Clock) -> asyncio.Task[Any]:
        """Run `work()` in the background under this owner, and again whenever it raises Retryable.

        `work` must be able to begin again: what it has read it has also carried out, and its writes that must not get
        lost try again by themselves.
        """
        return self.spawn(_again(work, name, clock), name)

    async def wait(self) -> None:
        """Return when a stop was asked for; raise the first error of a task as soon as it happens."""
        while not self._is_stopping:
            self._collect()
            self._changed.clear()
            await self._changed.wait()
        self._collect()

    def _collect(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    @contextmanager
    def telling(self) -> Iterator[None]:
        """End `wait` with the error that leaves this context at once, instead of when the task is over; not Retryable.

        For a task that takes long to clean up after a failure: were it cancelled then, nobody would hear of it.
        """
        try:
            yield
        except Retryable:
            raise
        except Exception as error:
            self._own(_failed(error), "failure")

    def request_stop(self) -> None:
        """Let `wait` return; the tasks go on until `stop`."""
        self._is_stopping = True
        self._changed.set()

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Cancel what still runs and wait for it; raise the first error of a task that `wait` has not raised.

        Raises BusTimeout when a task doesn't end in time.
        """
        self.request_stop()
        self._is_stopped = True
        current = asyncio.current_task()
        left = {task for task in self._tasks if task is not current and not task.done()}
        for task in left:
            task.cancel()
        if left:
            _, pending = await asyncio.wait(left, timeout=timeout_s)
            if pending:
                raise BusTimeout(f"stopping {', '.join(sorted(task.get_name() for task in pending))}", timeout_s)
        tasks, self._tasks = self._tasks, set()
        errors = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        for error in errors:
            if error is not None:
                raise error


async def _failed(error: Exception) -> None:
    raise error


async def _again(work: Callable[[], Coroutine[Any, Any, Any]], name: str, clock: Clock) -> None:
    pause_s = PAUSE_S
    while True:
        began_ns = clock.now_ns()
        try:
            await work()
        except Retryable as error:
            if clock.now_ns() - began_ns >= WELL_S * 1e9:
                pause_s = PAUSE_S
            _log.warning("%s begins again in %g s: %s", name, pause_s, error)
            await clock.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
        else:
            return
