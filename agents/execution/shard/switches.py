"""What `control` and Risk's pulse have switched on a shard: halts, flattening, overrides, limits, and the log's id."""

from collections.abc import Mapping

from agents.execution.shard.desk import Desk
from agents.execution.shard.state import ShardState
from agents.risk.gate import Gate
from agents.risk.instruments import MAX_STEPS
from agents.risk.kill_switch import TradingState, trading_state
from agents.risk.limits.file import Limits as LimitsFile
from agents.risk.limits.in_force import LimitsInForce
from messages.control import ControlMessage, Flatten, Halt, HaltLevel, Limits, LogStarted, Override, Resume
from messages.control_fold import HaltBook, HaltState

NO_LOG = ""


class Switches:
    """Takes records of `control` in, each once, by offset.

    `limits` is the file that changes apply to; of the portfolio's limits the shard of `partition` has a share.
    """

    def __init__(self, limits: LimitsFile, *, partition: int, partitions: int) -> None:
        self.control_to = 0
        self.log_id = NO_LOG
        self.risk_alive = False
        self._file, self._partition, self._partitions = limits, partition, partitions
        self._limits = LimitsInForce(limits, partitions=partitions)
        self.share = self._limits.share(partition)
        self._halts = HaltBook()
        self._flattening: set[str] = set()

    @property
    def halts(self) -> HaltState:
        """The Halts in force, for a checkpoint."""
        return self._halts.snapshot()

    @property
    def flattening(self) -> tuple[str, ...]:
        """The scopes that are being flattened, for a checkpoint."""
        return tuple(sorted(self._flattening))

    def restore(self, state: ShardState) -> None:
        """Take a checkpoint's switches over."""
        self.control_to, self.log_id, self.risk_alive = state.control_to, state.log_id, state.risk_alive
        self._flattening = set(state.flattening)
        self._halts = HaltBook.restore(state.halts)
        self._limits = LimitsInForce(self._file, partitions=self._partitions, changes=state.limit_changes)
        self.share = self._limits.share(self._partition)

    @property
    def changes(self) -> dict[str, float]:
        """What `control` has changed of the limits file, for a checkpoint."""
        return self._limits.changes

    def limits(self) -> LimitsFile:
        """Return the limits in force, with the shard's share of the portfolio's."""
        return self._limits.of_shard(self._partition)

    def level(self, desk: Desk) -> HaltLevel | None:
        """Return the strictest Halt in force for the desk."""
        return self._halts.level(desk.strategy, desk.instrument.instrument)

    def state(self, desk: Desk) -> TradingState:
        """Return what `control` and Risk allow the desk."""
        return trading_state(self.level(desk), self.risk_alive)

    def is_flattening(self, desk: Desk) -> bool:
        """Whether the desk is to be brought to zero."""
        if not self._flattening:  # nearly always
            return False
        scopes = {"portfolio", f"strategy:{desk.strategy}", f"instrument:{desk.instrument.instrument}"}
        return not scopes.isdisjoint(self._flattening)

    def apply(self, offset: int, message: ControlMessage, desks: Mapping[str, Desk], gate: Gate) -> None:
        """Take in the record at `offset`; one that was taken in before changes nothing."""
        if offset < self.control_to:
            return
        self.control_to = offset + 1
        match message:
            case LogStarted(log_id=log_id):
                self.log_id = log_id
            case Halt() | Resume():
                self._halts.apply(offset, message)
                for name, desk in desks.items():
                    if message.scope in {"portfolio", f"strategy:{desk.strategy}", f"instrument:{name}"}:
                        _unlatch(message, desk, gate)
            case Limits():
                self._change_limits(message, gate)
            case Flatten(scope=scope, on=on):
                (self._flattening.add if on else self._flattening.discard)(scope)
            case Override():
                _override(message, desks)
            case _:
                pass

    def _change_limits(self, message: Limits, gate: Gate) -> None:
        """An impossible change is void here as everywhere: one bad record must not stop every shard."""
        if self._limits.apply(message.changes) is None:
            self.share = self._limits.share(self._partition)
            gate.set_limits(self.limits())


def _unlatch(message: Halt | Resume, desk: Desk, gate: Gate) -> None:
    """A Halt bars what a closed throttle does, and takes its place: who clears it, by its offset, has looked since."""
    if isinstance(message, Halt):
        gate.release(desk.strategy, desk.instrument.instrument)
    else:
        desk.is_disputed = False


def _override(message: Override, desks: Mapping[str, Desk]) -> None:
    desk = desks.get(message.instrument)
    if desk is None or desk.strategy != message.strategy:
        return
    lots = None if message.target is None else message.target / desk.instrument.quantity_step
    if lots is None or abs(lots) <= MAX_STEPS:  # else it is void, too
        desk.override_lots = None if lots is None else round(lots)
        desk.has_failed = desk.has_failed and lots is not None  # released: the policy is to decide again
