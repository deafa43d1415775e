"""The watch over one client: looks at its progress now and then, and has a stalled one rebuilt.

A client is replaced only by one that works where it does not: a fresh one is started first, and the stalled one gets a
last moment to move. While no broker can be reached nothing is thrown away; after an outage most go on by themselves.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from messages.bus.health import WELL, Verdict
from messages.bus.kafka.calls import KafkaTimeouts, started
from messages.clock import Clock
from messages.errors import TickpilotError
from messages.status import ClientKind, ClientState

_log = logging.getLogger("tickpilot.bus")


class Watched(Protocol):
    """A client of the Kafka bus. Its raw client is aiokafka's, which can stop working for ever without saying so."""

    @property
    def name(self) -> str:
        """What it reads or writes, for people."""
        ...

    @property
    def kind(self) -> ClientKind:
        """What it is."""
        ...

    async def look(self, now_ns: int) -> Verdict:
        """Judge what is seen now; may ask a broker, within a bound."""
        ...

    def figures(self) -> tuple[int, int, int]:
        """Return (handled, behind, timeouts) as in ClientState."""
        ...

    def new_raw(self) -> Any | None:
        """Return another raw client, not started; None for a client that is not rebuilt."""
        ...

    async def replace(self, fresh: Any, within_s: float) -> bool:
        """Go on with `fresh`, which is started; False when nobody took it within the time."""
        ...

    async def close_raw(self, raw: Any) -> None:
        """Close a raw client within a bound."""
        ...


class Watch:
    """Owns the tasks that look after one client, from its start to its stop."""

    def __init__(self, client: Watched, *, url: str, timeouts: KafkaTimeouts, clock: Clock) -> None:
        self._client, self._url, self._timeouts, self._clock = client, url, timeouts, clock
        self._verdict = WELL
        self._rebuilds = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look from now on."""
        self._task = asyncio.create_task(self._look_on(), name=f"watching {self._client.name}")

    def state(self) -> ClientState:
        """Return the client's state as of the last look."""
        handled, behind, timeouts = self._client.figures()
        since_ns = 0
        if self._verdict.state == "stalled":
            since_ns = self._clock.now_ns() - (self._clock.perf_ns() - self._verdict.since_ns)
        return ClientState(
            name=self._client.name,
            kind=self._client.kind,
            state=self._verdict.state,
            reason=self._verdict.reason,
            since_ns=since_ns,
            rebuilds=self._rebuilds,
            handled=handled,
            behind=behind,
            timeouts=timeouts,
        )

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run what closes a raw client in the background; it is waited for by `end`."""
        task = asyncio.create_task(work, name=name)
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a raw client of %s did not close cleanly: %s", self._client.name, error)

    async def end(self) -> None:
        """Stop looking, and wait for raw clients that are being closed, which is bounded."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=self._timeouts.stop_s)
        if self._closing:
            await asyncio.wait(set(self._closing), timeout=self._timeouts.stop_s)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._timeouts.look_s)
            try:
                if await self._is_stalled():
                    await self._rebuild()
            except Exception:
                _log.exception("the watch over %s failed; it goes on", self._client.name)

    async def _is_stalled(self) -> bool:
        before = self._verdict
        self._verdict = await self._client.look(self._clock.perf_ns())
        if self._verdict.state != before.state:
            _log.warning("%s %s is %s %s", self._client.kind, self._client.name, *_words(self._verdict))
        return self._verdict.state == "stalled"

    async def _rebuild(self) -> None:
        fresh = self._client.new_raw()
        if fresh is None:
            return
        is_taken = False
        try:
            await started(self._url, self._client.name, fresh.start, self._timeouts.start_s)
            await asyncio.sleep(self._timeouts.look_s)
            if await self._is_stalled():
                is_taken = await self._client.replace(fresh, self._timeouts.stall_s)
        except TickpilotError as error:
            _log.info("%s can't be rebuilt yet: %s", self._client.name, error)
        finally:
            if not is_taken:
                self.spawn(self._client.close_raw(fresh), f"closing what {self._client.name} did not need")
        if is_taken:
            self._rebuilds += 1
            self._verdict = WELL
            _log.warning("%s %s was rebuilt", self._client.kind, self._client.name)


def _words(verdict: Verdict) -> tuple[str, str]:
    return ("well again", "") if verdict.state == "ok" else ("stalled:", verdict.reason)


async def quietly(close: Coroutine[Any, Any, None]) -> None:
    """Wait for a close that may fail: whoever calls has given the client up already."""
    try:
        await close
    except TickpilotError as error:
        _log.info("%s", error)
