"""When the next message is due: on a virtual clock the feed moves time, on a real one it waits."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from messages import Clock, VirtualClock

_SLICE_S = 0.5  # the longest sleep: clocks may be set while we wait

Settle = Callable[[], Awaitable[None]]


class Pacer(Protocol):
    """Decides when a message goes out."""

    async def until(self, ts_recv: int) -> None:
        """Return when the message of that time is due."""
        ...


class VirtualPacer:
    """Moves a virtual clock to each message's time; the only one that moves it while the feed plays."""

    def __init__(self, clock: VirtualClock, settle: Settle) -> None:
        self._clock, self._settle = clock, settle
        self._has_begun = False

    async def until(self, ts_recv: int) -> None:
        """Move to `ts_recv`; on the way whoever sleeps wakes at their own deadline, and acts before time moves on.

        To the first message it jumps: a clock that was started in 1970 would wake everyone a billion times.
        """
        if not self._has_begun:
            self._has_begun = True
            self._clock.set(ts_recv)
            await self._settle()
        while (deadline_ns := self._clock.next_deadline_ns()) is not None and deadline_ns <= ts_recv:
            self._clock.set(deadline_ns)
            await self._settle()
        self._clock.set(ts_recv)


class RealPacer:
    """Waits for `speed` times as recorded, counted from the first message, so that delays don't add up."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock, self._speed = clock, speed
        self._origin: tuple[int, int] | None = None

    async def until(self, ts_recv: int) -> None:
        now_ns = self._clock.now_ns()
        if self._origin is None:
            self._origin = now_ns, ts_recv
        began_ns, first_ns = self._origin
        due_ns = began_ns + round((ts_recv - first_ns) / self._speed)
        while (left_ns := due_ns - self._clock.now_ns()) > 0:
            await self._clock.sleep(min(left_ns / 1e9, _SLICE_S))


class NoPacer:
    """Everything is due at once: as fast as the bus takes it."""

    async def until(self, ts_recv: int) -> None: ...


def pacer_for(speed: float, clock: Clock, settle: Settle) -> Pacer:
    """Return the pacer for a speed (0: as fast as it goes) on this clock."""
    if speed > 0:
        return RealPacer(clock, speed)
    return VirtualPacer(clock, settle) if isinstance(clock, VirtualClock) else NoPacer()
