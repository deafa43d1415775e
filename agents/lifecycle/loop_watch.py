"""The event loop is not late: measured by how much later than asked a short sleep ends."""

from collections.abc import Callable

from messages import Clock, VirtualClock

EVERY_S = 0.1


def _not_heard(_late_s: float) -> None: ...


async def sleep_watching(
    clock: Clock, seconds: float, heard: Callable[[float], object] = _not_heard, *, every_s: float = EVERY_S
) -> float | None:
    """Sleep in short pieces; return the most seconds that one of them ended late, None on a virtual clock.

    `heard` is told the lateness of each. On a virtual clock it is one sleep: nothing is late there.
    """
    if isinstance(clock, VirtualClock):
        await clock.sleep(seconds)
        return None
    worst_s, left_s = 0.0, seconds
    while left_s > 0:
        piece_s, began_ns = min(every_s, left_s), clock.perf_ns()
        await clock.sleep(piece_s)
        late_s = max((clock.perf_ns() - began_ns) / 1e9 - piece_s, 0.0)
        heard(late_s)
        worst_s = max(worst_s, late_s)
        left_s -= piece_s + late_s
    return worst_s
