"""Callers in the order in which they came, each waiting for a bounded time."""

import asyncio
from types import TracebackType


class Turns:
    """One caller inside at a time, as `async with turns:`. Raises TimeoutError after `timeout_s` in the queue.

    aiokafka wakes all who wait for room in a full batch at once, and who comes then may overtake them.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._callers = 0

    async def __aenter__(self) -> None:
        self._callers += 1
        try:
            if self._callers == 1:
                await self._lock.acquire()  # at once: nobody is inside or before us
            else:
                async with asyncio.timeout(self._timeout_s):
                    await self._lock.acquire()
        except BaseException:
            self._callers -= 1
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._callers -= 1
        self._lock.release()
