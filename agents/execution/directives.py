"""What `control` and `status` mean for Execution: effects for shards, bundles to stage, and whether Risk is alive."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from agents.execution.shard import Shard
from messages import Activate, Heartbeat, Record, Refused, Rollout, decode
from messages.control import ControlMessage
from messages.control_fold import ControlFold
from messages.decisions import BundleActivated, ControlApplied, StepInput


class Wanted(Struct, frozen=True, kw_only=True):
    """A bundle that `control` has named: where it is, and for which strategy."""

    strategy: str
    bundle_id: str
    uri: str
    sha256: str


class Directives:
    """Folds `control` from its beginning; void records have no effect."""

    def __init__(self) -> None:
        self.fold = ControlFold()
        self._effects: list[ControlApplied] = []
        self._wanted: dict[str, Wanted] = {}
        self.risk_seen_ns: int | None = None

    def apply(self, record: Record) -> ControlMessage | None:
        """Take a record of `control`; return its message when it counts. A record that can't be read is void."""
        try:
            message = decode(record.topic, record.value, record.headers)
        except Refused:
            return None
        if not isinstance(message, ControlMessage) or not self.fold.apply(record.offset, message):
            return None
        if isinstance(message, Rollout):
            self._wanted[message.sha256] = Wanted(
                strategy=message.strategy, bundle_id=message.bundle_id, uri=message.uri, sha256=message.sha256
            )
        elif not isinstance(message, Activate):
            self._effects.append(ControlApplied(offset=record.offset, message=message))
        return message

    def apply_status(self, record: Record, now_ns: int) -> None:
        """Take a record of `status`: Risk's heartbeat counts from when it was seen."""
        try:
            message = decode(record.topic, record.value, record.headers)
        except Refused:
            return
        if isinstance(message, Heartbeat) and message.agent == "risk":
            self.risk_seen_ns = now_ns

    def is_risk_alive(self, now_ns: int, timeout_ms: int) -> bool:
        """Whether Risk's heartbeat was seen within the timeout."""
        return self.risk_seen_ns is not None and now_ns - self.risk_seen_ns <= timeout_ms * 1_000_000

    def wanted(self, sha256: str) -> Wanted | None:
        """Return the bundle that a Rollout has named by this digest."""
        return self._wanted.get(sha256)

    def to_stage(self) -> list[Wanted]:
        """Return what trades now and what is to trade next."""
        digests = {active.sha256 for active in self.fold.active.values()}
        digests |= {rollout.sha256 for rollout in self.fold.rollouts.values()}
        return [self._wanted[digest] for digest in sorted(digests) if digest in self._wanted]

    def inputs_for(self, shard: Shard, staged: Mapping[str, object]) -> tuple[StepInput, ...]:
        """Return what `control` holds that the shard has not applied; activations only of staged bundles."""
        effects: Iterable[StepInput] = (effect for effect in self._effects if effect.offset >= shard.control_to)
        return (*effects, *self._activations(shard, staged))

    def _activations(self, shard: Shard, staged: Mapping[str, object]) -> Iterator[BundleActivated]:
        for (strategy, instrument), active in sorted(self.fold.active.items()):
            desk = shard.desks.get(instrument)
            if desk is None or desk.strategy != strategy or active.sha256 not in staged:
                continue
            if desk.active is None or desk.active.offset < active.offset:
                yield BundleActivated(
                    offset=active.offset,
                    strategy=strategy,
                    instrument=instrument,
                    bundle_id=active.bundle_id,
                    sha256=active.sha256,
                )
