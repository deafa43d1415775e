"""The open orders of one instrument, filed so that a market record finds those to which it can matter."""

from bisect import bisect_left, bisect_right, insort
from operator import itemgetter

from agents.venue.tape import Event
from agents.venue.working import Phase, WorkingOrder

_Orders = dict[int, WorkingOrder]
_Rung = tuple[int, int, WorkingOrder]  # limit in ticks, offset on `orders`
_ticks = itemgetter(0)
_place = itemgetter(0, 1)


class OpenOrders:
    """Orders on their way, and resting ones by their limits. All of them by their offset on `orders`."""

    def __init__(self) -> None:
        self._arriving: dict[int, WorkingOrder] = {}
        self._resting: dict[int, _Rung] = {}
        self._buys: list[_Rung] = []
        self._sells: list[_Rung] = []
        # Resting orders that have not seen yet what stands ahead of them, by price.
        self._unplaced_buys: dict[int, _Orders] = {}
        self._unplaced_sells: dict[int, _Orders] = {}

    def __len__(self) -> int:
        return len(self._arriving) + len(self._resting)

    def add(self, working: WorkingOrder) -> None:
        """Take in an order that is on its way."""
        self._arriving[working.position.offset] = working

    def touched_by(self, event: Event) -> list[WorkingOrder]:
        """Return the orders that the event can change, in topic order; most events change none.

        A quote matters to those that the other side goes through, and to those that learn from it what stands ahead;
        a trade to those at its price or beyond.
        """
        touched = self._arriving.copy() if self._arriving else {}
        if self._resting:
            buys, sells, bid, ask = self._buys, self._sells, event.bid, event.ask
            if bid is not None and ask is not None:
                if buys and buys[-1][0] > ask.ticks:
                    _gather(touched, buys[bisect_right(buys, ask.ticks, key=_ticks) :])
                if sells and sells[0][0] < bid.ticks:
                    _gather(touched, sells[: bisect_left(sells, bid.ticks, key=_ticks)])
                if (placed := self._unplaced_buys.get(bid.ticks)) is not None:
                    touched.update(placed)
                if (placed := self._unplaced_sells.get(ask.ticks)) is not None:
                    touched.update(placed)
            for printed in event.trades:
                if buys and buys[-1][0] >= printed.ticks:
                    _gather(touched, buys[bisect_left(buys, printed.ticks, key=_ticks) :])
                if sells and sells[0][0] <= printed.ticks:
                    _gather(touched, sells[: bisect_right(sells, printed.ticks, key=_ticks)])
        return [touched[offset] for offset in sorted(touched)] if touched else []

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
            if not working.knows_its_place:
                self._unplaced(working).setdefault(ticks, {})[offset] = working
            return False
        if (known := self._resting.get(offset)) is None:
            return False
        if working.is_done or working.knows_its_place:
            self._placed(working, known[0])
        if not working.is_done:
            return False
        del self._resting[offset]
        side = self._side(working)
        del side[bisect_left(side, _place(known), key=_place)]
        return True

    def _placed(self, working: WorkingOrder, ticks: int) -> None:
        unplaced = self._unplaced(working)
        if (waiting := unplaced.get(ticks)) is not None:
            waiting.pop(working.position.offset, None)
            if not waiting:
                del unplaced[ticks]

    def _unplaced(self, working: WorkingOrder) -> dict[int, _Orders]:
        return self._unplaced_buys if working.is_buy else self._unplaced_sells

    def _side(self, working: WorkingOrder) -> list[_Rung]:
        return self._buys if working.is_buy else self._sells


def _gather(touched: dict[int, WorkingOrder], rungs: list[_Rung]) -> None:
    touched.update((offset, working) for _, offset, working in rungs)
