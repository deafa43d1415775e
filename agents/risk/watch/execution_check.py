"""What Execution's heartbeats say, against Risk's own books and limits. Pure.

Positions are compared at the same offsets of `reports` and `control`, however far the one is behind the other: what
both have read must give both the same. So there is no tolerance.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agents.risk.instruments import Instrument
from agents.risk.ledger import UNASSIGNED, Ledger
from agents.risk.limits.file import PortfolioLimits
from agents.risk.watch.crossings import Breach
from messages import Heartbeat
from messages.bus.partitioner import partition_of
from messages.status import ShardStatus

_REMEMBERED = 4_096  # changes of one instrument's position; heartbeats come a second after them


class _Change(NamedTuple):
    """A position moved by `lots` at an offset of `reports` (of its shard) or of `control`."""

    is_report: bool
    offset: int
    lots: int


class _Moves:
    """The newest changes of one instrument's position. Older offsets than the ones kept can't be compared."""

    def __init__(self) -> None:
        self._changes: deque[_Change] = deque()
        self._reports_from = self._control_from = 0

    def add(self, change: _Change) -> None:
        self._changes.append(change)
        if len(self._changes) > _REMEMBERED:
            self._forget(self._changes.popleft())

    def since(self, reports_to: int, control_to: int) -> int | None:
        """Return the lots by which the position moved from these offsets on, and forget what was before them.

        None: some of that is forgotten, for something newer was asked before.
        """
        if reports_to < self._reports_from or control_to < self._control_from:
            return None
        kept = [c for c in self._changes if c.offset >= (reports_to if c.is_report else control_to)]
        for change in self._changes:
            if change.offset < (reports_to if change.is_report else control_to):
                self._forget(change)
        self._changes = deque(kept)
        return sum(change.lots for change in kept)

    def _forget(self, change: _Change) -> None:
        if change.is_report:
            self._reports_from = max(self._reports_from, change.offset + 1)
        else:
            self._control_from = max(self._control_from, change.offset + 1)


class ExecutionCheck:
    """Follows the live shards. `shards`: the number of partitions."""

    def __init__(self, instruments: Mapping[str, Instrument], limits: PortfolioLimits, *, shards: int) -> None:
        self.limits = limits
        self._instruments, self._shards = instruments, shards
        self._moves: dict[str, _Moves] = {}
        self._reports_from: Mapping[int, int] = {}
        self._control_from = 0
        self._waiting: dict[int, ShardStatus] = {}
        self._disagreeing: dict[str, tuple[int, Breach]] = {}
        self._slow: dict[int, tuple[int, float]] = {}
        self._counted: dict[int, tuple[int, int]] = {}
        self._saturated: dict[int, Breach] = {}
        self._throttled: dict[int, tuple[str, ...]] = {}

    def begin(self, reports_from: Mapping[int, int], control_from: int) -> None:
        """Compare nothing from before these offsets: what moved a position then is in the books, not told here."""
        self._reports_from, self._control_from = dict(reports_from), control_from

    def moved(self, instrument: str, lots: int, *, report: int | None = None, control: int | None = None) -> None:
        """Risk has booked a change of a position, read at an offset of `reports`, or of `control`."""
        offset = report if report is not None else control
        if lots and offset is not None:
            self._moves.setdefault(instrument, _Moves()).add(_Change(report is not None, offset, lots))

    def hear(self, beat: Heartbeat) -> None:
        """Take in a heartbeat."""
        for status in beat.shards:
            self._waiting[status.partition] = status
            self._throttled[status.partition] = status.throttled
            self._judge_latency(status)
            self._judge_saturation(status)

    def _judge_latency(self, status: ShardStatus) -> None:
        p99_us = status.decision_p99_us
        if p99_us is None:
            return
        in_a_row, _ = self._slow.pop(status.partition, (0, 0.0))
        if p99_us > self.limits.max_decision_p99_us:
            self._slow[status.partition] = in_a_row + 1, p99_us

    def _judge_saturation(self, status: ShardStatus) -> None:
        decisions, saturated = self._counted.get(status.partition, (0, 0))
        decisions, saturated = decisions + status.decisions, saturated + status.saturated
        if decisions < self.limits.saturation_window:
            self._counted[status.partition] = decisions, saturated
            return
        self._counted[status.partition] = 0, 0
        self._saturated.pop(status.partition, None)
        share, most = saturated / decisions, self.limits.max_saturated_ratio
        if share > most:
            self._saturated[status.partition] = Breach(
                code="ACTION_SATURATION",
                text=f"shard {status.partition}: limit={most:g} value={share:.3f} of the last {decisions} decisions",
                shard=status.partition,
            )

    def compare(self, ledger: Ledger, reports_to: Mapping[int, int], control_to: int) -> None:
        """Hold positions against the ledger, where it has read at least as far as the shard had.

        `reports_to`, `control_to`: the offsets that the ledger has read up to; by partition for `reports`.
        """
        for partition, status in list(self._waiting.items()):
            if reports_to.get(partition, 0) < status.reports_to or control_to < status.control_to:
                continue
            del self._waiting[partition]
            if status.reports_to >= self._reports_from.get(partition, 0) and status.control_to >= self._control_from:
                self._compare(status, ledger)

    def _compare(self, status: ShardStatus, ledger: Ledger) -> None:
        traded = {held.instrument for held in ledger.holdings() if held.strategy != UNASSIGNED}
        for name in sorted(traded | status.positions.keys()):
            reference = self._instruments.get(name)
            if reference is None or self._shard_of(name) != status.partition:
                continue
            moved = self._moves[name].since(status.reports_to, status.control_to) if name in self._moves else 0
            if moved is None:
                continue
            ours = ledger.position_lots(name) - moved
            theirs = status.positions.get(name, 0.0)
            if reference.lots(theirs) == ours:
                self._disagreeing.pop(name, None)
                continue
            times, _ = self._disagreeing.get(name, (0, None))
            text = (
                f"{name}: Execution holds {theirs:g}, Risk {reference.quantity(ours):g} after the reports before "
                f"reports-{status.partition}@{status.reports_to}; compare both with the venue's, correct, then resume"
            )
            breach = Breach(code="POSITION_DISAGREEMENT", text=text, level="reducing", instrument=name)
            self._disagreeing[name] = times + 1, breach

    def _shard_of(self, instrument: str) -> int:
        return partition_of(instrument.encode(), self._shards)

    def breaches(self) -> Iterable[Breach]:
        """Return the limits that are passed."""
        limits = self.limits
        yield from (breach for times, breach in self._disagreeing.values() if times >= limits.position_confirmations)
        for shard, (in_a_row, p99_us) in sorted(self._slow.items()):
            if in_a_row >= limits.slow_heartbeats:
                yield Breach(
                    code="DECISION_LATENCY",
                    text=(
                        f"shard {shard}: limit={limits.max_decision_p99_us:g} us p99={p99_us:.0f} us, "
                        f"{limits.slow_heartbeats} heartbeats in a row"
                    ),
                    shard=shard,
                )
        yield from self._saturated.values()
        for shard, names in sorted(self._throttled.items()):
            for name in names:
                yield Breach(
                    code="REPEATED_EXECUTION",
                    text=f"{name}: too many orders in too short a time, shard {shard} lets only exits pass; look why",
                    level="halted",
                    instrument=name,
                )
