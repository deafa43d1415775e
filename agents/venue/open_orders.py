"""The open orders of one instrument, filed so that a market record finds those to which it can matter."""

from bisect import bisect_left, bisect_right, insort

from agents.venue.tape import Event
from agents.venue.working import Phase, WorkingOrder

_Rung = tuple[int, int, WorkingOrder]  # limit in ticks, offset on `orders`


class OpenOrders:
    """Orders on their way, and resting ones by their limits."""

    def __init__(self) -> None:
        self._arriving: dict[int, WorkingOrder] = {}
        self._resting: dict[int, _Rung] = {}
        self._buys: list[_Rung] = []
        self._sells: list[_Rung] = []

    def __len__(self) -> int:
        return len(self._arriving) + len(self._resting)

    def add(self, working: WorkingOrder) -> None:
        """Take in an order that is on its way."""
        self._arriving[working.position.offset] = working

    def touched_by(self, event: Event) -> list[WorkingOrder]:
        """Return the orders that the event can change, in topic order; most events change none.

        While the bid is above a buy, the ask can't go through it and the volume ahead of it doesn't show; a print above
        it says nothing to it either. The same for sells from the other side.
        """
        touched = list(self._arriving.values())
        if self._resting and (reach := _reach(event)) is not None:
            lowest, highest = reach
            if self._buys and self._buys[-1][0] >= lowest:
                touched += [rung[2] for rung in self._buys[bisect_left(self._buys, lowest, key=_ticks) :]]
            if self._sells and self._sells[0][0] <= highest:
                touched += [rung[2] for rung in self._sells[: bisect_right(self._sells, highest, key=_ticks)]]
        if len(touched) > 1:
            touched.sort(key=_offset)
        return touched

    def refile(self, working: WorkingOrder) -> bool:
        """Follow what became of an order; return whether it has just finished."""
        offset = working.position.offset
        if working.phase is Phase.ON_ITS_WAY:
            return False
        if self._arriving.pop(offset, None) is not None:
            ticks = working.resting_ticks
            if ticks is None:
                return True
            self._resting[offset] = rung = (ticks, offset, working)
            insort(self._side(working), rung, key=_place)
            return False
        if not working.is_done or offset not in self._resting:
            return False
        side, rung = self._side(working), self._resting.pop(offset)
        del side[bisect_left(side, _place(rung), key=_place)]
        return True

    def _side(self, working: WorkingOrder) -> list[_Rung]:
        return self._buys if working.order.side == "buy" else self._sells


def _reach(event: Event) -> tuple[int, int] | None:
    """Return (lowest, highest) price of the event in ticks, or None when it has none."""
    if not event.trades:
        return (event.bid.ticks, event.ask.ticks) if event.bid is not None and event.ask is not None else None
    prices = [printed.ticks for printed in event.trades]
    if event.bid is not None and event.ask is not None:
        prices += [event.bid.ticks, event.ask.ticks]
    return min(prices), max(prices)


def _ticks(rung: _Rung) -> int:
    return rung[0]


def _place(rung: _Rung) -> tuple[int, int]:
    return rung[:2]


def _offset(working: WorkingOrder) -> int:
    return working.position.offset
