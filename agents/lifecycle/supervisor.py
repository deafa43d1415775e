"""The owner of background tasks: it notices every death, and stopping is bounded."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from messages.errors import BusTimeout


class Supervisor:
    """Owns an agent's tasks. A task that raises ends `wait` with that error; one that returns is simply done."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self._is_stopping = False

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` in the background under this owner."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._changed.set())
        return task

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

    def request_stop(self) -> None:
        """Let `wait` return; the tasks go on until `stop`."""
        self._is_stopping = True
        self._changed.set()

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Cancel what still runs and wait for it; raise the first error of a task that `wait` has not raised.

        Raises BusTimeout when a task doesn't end in time.
        """
        self.request_stop()
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
