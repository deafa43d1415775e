"""What `control` says: the fold of its records by offset, the same for every reader.

Activate, Rollout, Shadow and Override are void when `expects` is not the offset of the last record of their key, void
records included: whoever writes after an unseen change has to look again; Limits for the same reason when `version` is
not the last valid one's + 1. Halts are unconditional and latch.
"""

from collections.abc import Iterable

from msgspec import Struct

from messages.control import (
    PORTFOLIO,
    Activate,
    Adjust,
    ControlMessage,
    Flatten,
    Halt,
    HaltLevel,
    Limits,
    LogStarted,
    Override,
    Resume,
    Rollout,
    Shadow,
    control_key,
)
from messages.errors import Fatal

NEVER = -1
_SEVERITY: dict[HaltLevel, int] = {"reducing": 1, "halted": 2}


class OutOfOrder(Fatal):
    """Raised when records of `control` are folded out of order or twice."""

    def __init__(self, offset: int, last: int) -> None:
        super().__init__(f"control offset {offset} folded after {last}; read the topic once, from offset 0")
        self.offset, self.last = offset, last


class HaltInForce(Struct, frozen=True, kw_only=True):
    """A Halt that nobody has cleared: its offset is what a Resume has to name."""

    scope: str
    writer: str
    level: HaltLevel
    offset: int
    reason: str


class HaltState(Struct, frozen=True, kw_only=True):
    """All Halts in force, by offset: part of checkpoints."""

    halts: tuple[HaltInForce, ...] = ()


class HaltBook:
    """The Halts in force: the newest of each (scope, writer, level); only a Resume that names its offset clears one.

    Applying a record twice changes nothing, so a checkpoint may overlap what is read after it.
    """

    def __init__(self) -> None:
        self._halts: dict[tuple[str, str, HaltLevel], HaltInForce] = {}
        self._levels: dict[str, HaltLevel] = {}

    def apply(self, offset: int, message: Halt | Resume) -> None:
        """Take in the record at `offset` of `control`."""
        if isinstance(message, Resume):
            named = set(message.clears)
            self._halts = {key: halt for key, halt in self._halts.items() if halt.offset not in named}
        else:
            key = (message.scope, message.writer, message.level)
            known = self._halts.get(key)
            if known is None or known.offset < offset:
                self._halts[key] = HaltInForce(
                    scope=message.scope,
                    writer=message.writer,
                    level=message.level,
                    offset=offset,
                    reason=message.reason,
                )
        self._refresh()

    def level(self, strategy: str | None = None, instrument: str | None = None) -> HaltLevel | None:
        """Return the strictest level in force for the portfolio, the strategy and the instrument; None: none."""
        levels = self._levels
        if not levels:
            return None
        found = (levels.get(PORTFOLIO), levels.get(f"strategy:{strategy}"), levels.get(f"instrument:{instrument}"))
        return max((level for level in found if level is not None), key=_SEVERITY.__getitem__, default=None)

    def in_force(self) -> tuple[HaltInForce, ...]:
        """Return the Halts in force, oldest first."""
        return tuple(sorted(self._halts.values(), key=lambda halt: halt.offset))

    def snapshot(self) -> HaltState:
        """Return the state, equal for equal histories."""
        return HaltState(halts=self.in_force())

    @classmethod
    def restore(cls, state: HaltState) -> "HaltBook":
        """Return a book in that state."""
        book = cls()
        book._halts = {(halt.scope, halt.writer, halt.level): halt for halt in state.halts}
        book._refresh()
        return book

    def _refresh(self) -> None:
        self._levels = _strictest(self._halts.values())


def _strictest(halts: Iterable[HaltInForce]) -> dict[str, HaltLevel]:
    levels: dict[str, HaltLevel] = {}
    for halt in halts:
        known = levels.get(halt.scope)
        if known is None or _SEVERITY[known] < _SEVERITY[halt.level]:
            levels[halt.scope] = halt.level
    return levels


class RolloutTarget(Struct, frozen=True, kw_only=True):
    """A bundle that is to be staged, and where it is: for a strategy, or as the shadow of an instrument."""

    bundle_id: str
    uri: str
    sha256: str
    offset: int


class ActiveBundle(Struct, frozen=True, kw_only=True):
    """The bundle that trades an instrument for a strategy."""

    bundle_id: str
    sha256: str
    offset: int


class ControlFold:
    """Everything that `control` says, after the records applied so far.

    `rollouts` by strategy; `active`, `previous` (active before it: where a rollback goes), `shadows` and `overrides`
    (targets in units) by (strategy, instrument); `flattening` the scopes whose switch is on, `limits_version`
    that of the newest valid Limits (0: there is none), `adjusts` by id, `halts`, `log_id`.
    """

    def __init__(self) -> None:
        self.log_id: str | None = None
        self.rollouts: dict[str, RolloutTarget] = {}
        self.active: dict[tuple[str, str], ActiveBundle] = {}
        self.previous: dict[tuple[str, str], ActiveBundle] = {}
        self.shadows: dict[tuple[str, str], RolloutTarget] = {}
        self.overrides: dict[tuple[str, str], float] = {}
        self.flattening: set[str] = set()
        self.limits_version = 0
        self.adjusts: dict[str, Adjust] = {}
        self.halts = HaltBook()
        self._last: dict[str, int] = {}
        self._newest = NEVER

    @property
    def next_offset(self) -> int:
        """The first offset that has not been applied."""
        return self._newest + 1

    def last_offset(self, key: str) -> int:
        """Return what `expects` has to be for the key: the offset of its last record, or -1."""
        return self._last.get(key, NEVER)

    def is_flattening(self, strategy: str, instrument: str) -> bool:
        """Whether a Flatten is on for the portfolio, the strategy or the instrument."""
        scopes = self.flattening
        return bool(scopes) and not scopes.isdisjoint((PORTFOLIO, f"strategy:{strategy}", f"instrument:{instrument}"))

    def apply(self, offset: int, message: ControlMessage) -> bool:
        """Take in the record at `offset`; True: it counts, False: it is void. Offsets grow, but may have holes.

        Raises OutOfOrder for an offset at or below the last one.
        """
        if offset <= self._newest:
            raise OutOfOrder(offset, self._newest)
        self._newest = offset
        key = control_key(message)
        previous = self.last_offset(key)
        self._last[key] = offset
        if isinstance(message, Rollout | Activate | Shadow | Override) and message.expects != previous:
            return False
        return self._take(offset, message)

    def _take(self, offset: int, message: ControlMessage) -> bool:  # noqa: C901 - one case a message
        match message:
            case LogStarted():
                if self.log_id is not None:
                    return False
                self.log_id = message.log_id
            case Rollout():
                self.rollouts[message.strategy] = RolloutTarget(
                    bundle_id=message.bundle_id, uri=message.uri, sha256=message.sha256, offset=offset
                )
            case Activate():
                self._activate(offset, message)
            case Shadow():
                return self._shadow(offset, message)
            case Override():
                self._override(message)
            case Halt() | Resume():
                self.halts.apply(offset, message)
            case Flatten():
                (self.flattening.add if message.on else self.flattening.discard)(message.scope)
            case Limits():
                if message.version != self.limits_version + 1:
                    return False
                self.limits_version = message.version
            case Adjust():
                if message.adjust_id in self.adjusts:
                    return False
                self.adjusts[message.adjust_id] = message
        return True

    def _activate(self, offset: int, message: Activate) -> None:
        key = (message.strategy, message.instrument)
        before = self.active.get(key)
        if before is not None and before.sha256 != message.sha256:
            self.previous[key] = before
        self.active[key] = ActiveBundle(bundle_id=message.bundle_id, sha256=message.sha256, offset=offset)

    def _shadow(self, offset: int, message: Shadow) -> bool:
        """Half a name is void: it says neither what to stage nor to stop."""
        key = (message.strategy, message.instrument)
        bundle_id, uri, sha256 = message.bundle_id, message.uri, message.sha256
        if bundle_id is None and uri is None and sha256 is None:
            self.shadows.pop(key, None)
            return True
        if bundle_id is None or uri is None or sha256 is None:
            return False
        self.shadows[key] = RolloutTarget(bundle_id=bundle_id, uri=uri, sha256=sha256, offset=offset)
        return True

    def _override(self, message: Override) -> None:
        key = (message.strategy, message.instrument)
        if message.target is None:
            self.overrides.pop(key, None)
        else:
            self.overrides[key] = message.target
