"""What each instrument's position is, as the venue knows it: only reduce-only orders ask."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from agents.risk.instruments import Instrument
from agents.venue.tape import Event
from messages import ExecutionReport


class _Filled(Struct, frozen=True):
    lots: int  # signed
    offset: int  # of the market record; -1 where only its time is known
    ts_recv: int


class Positions:
    """Signed lots by instrument, over all strategies: one account.

    An order may be judged long after a fill of another one that came later on the market, and must not see it: so fills
    stay apart until every order that can still come lies behind them.
    """

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        self._base: dict[str, int] = {}
        self._fills: dict[str, list[_Filled]] = {}
        self._recalled: set[str] = set()
        self.is_known = True

    def recall(self, reports: Iterable[ExecutionReport], *, is_complete: bool) -> None:
        """Take in what `reports` says of orders that are finished; the venue derives all others again.

        `is_complete`: the topic still has its first record; without it no position is known, and every reduce-only
        order is taken at its word.
        """
        self.is_known = is_complete
        cumulative: dict[str, int] = {}
        fills: dict[str, list[tuple[str, _Filled]]] = {}
        for report in reports:
            instrument = self._instruments.get(report.instrument)
            lots = instrument.lots(report.cumulative_quantity) if instrument is not None else None
            added = (lots or 0) - cumulative.get(report.order_id, 0)
            if added > 0:
                cumulative[report.order_id] = lots or 0
                signed = added if report.side == "buy" else -added
                filled = _Filled(signed, -1, report.ts_event)
                fills.setdefault(report.order_id, []).append((report.instrument, filled))
            if report.status.is_final:
                self._recalled.add(report.order_id)
        for order_id, parts in fills.items():
            if order_id in self._recalled:
                for name, filled in parts:
                    self._fills.setdefault(name, []).append(filled)

    def adjust(self, instrument: str, lots: int) -> None:
        """Correct a position by signed lots, from now on."""
        self._base[instrument] = self._base.get(instrument, 0) + lots

    def fill(self, order_id: str, instrument: str, lots: int, event: Event) -> None:
        """An order filled at a market record (signed lots)."""
        if order_id not in self._recalled:
            self._fills.setdefault(instrument, []).append(_Filled(lots, event.offset, event.ts_recv))

    def at(self, event: Event) -> int | None:
        """Return the position of the event's instrument as it was at the event, or None: not known."""
        if not self.is_known:
            return None
        seen = sum(
            filled.lots
            for filled in self._fills.get(event.instrument, ())
            if (filled.offset <= event.offset if filled.offset >= 0 else filled.ts_recv <= event.ts_recv)
        )
        return self._base.get(event.instrument, 0) + seen

    def forget(self, source: Event) -> None:
        """No order of this instrument that is still to be judged has an older source: fills up to it are one sum."""
        fills = self._fills.get(source.instrument)
        if not fills:
            return
        left = []
        for filled in fills:
            is_past = filled.offset <= source.offset if filled.offset >= 0 else filled.ts_recv <= source.ts_recv
            if is_past:
                self.adjust(source.instrument, filled.lots)
            else:
                left.append(filled)
        self._fills[source.instrument] = left
