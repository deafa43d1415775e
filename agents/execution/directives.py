"""What `control` means for Execution: effects for shards, and which bundles are to be staged and kept."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter

from msgspec import Struct

from agents.execution.shard import Shard
from messages import Activate, Record, Rollout, Shadow
from messages.bus.reading import message_in
from messages.control import ControlMessage
from messages.control_fold import ControlFold, RolloutTarget
from messages.decisions import BundleActivated, BundleShadowed, ControlApplied, StepInput


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

    def apply(self, record: Record) -> ControlMessage | None:
        """Take a record of `control`; return its message when it counts. A record that can't be read is void."""
        message = message_in(record)
        if not isinstance(message, ControlMessage) or not self.fold.apply(record.offset, message):
            return None
        match message:
            case Rollout():
                self._want(message.strategy, self.fold.rollouts[message.strategy])
            case Shadow():
                if (shadow := self.fold.shadows.get((message.strategy, message.instrument))) is not None:
                    self._want(message.strategy, shadow)
            case Activate():
                pass
            case _:
                self._effects.append(ControlApplied(offset=record.offset, message=message))
        return message

    def _want(self, strategy: str, target: RolloutTarget) -> None:
        self._wanted[target.sha256] = Wanted(
            strategy=strategy, bundle_id=target.bundle_id, uri=target.uri, sha256=target.sha256
        )

    def wanted(self, sha256: str) -> Wanted | None:
        """Return the bundle that a Rollout or a Shadow has named by this digest."""
        return self._wanted.get(sha256)

    def wanted_by(self, message: ControlMessage) -> Wanted | None:
        """Return the bundle that a message needs to be staged; None when it needs none, or one that was never named."""
        if isinstance(message, Rollout | Activate | Shadow) and message.sha256 is not None:
            return self._wanted.get(message.sha256)
        return None

    def to_stage(self) -> list[Wanted]:
        """Return what trades now, what is to trade next, what traded before and what shadows."""
        return [self._wanted[digest] for digest in sorted(self._named()) if digest in self._wanted]

    def in_use(self, shards: Iterable[Shard]) -> set[str]:
        """Return the digests that must stay loaded: what `control` may ask for at once, and what these shards hold."""
        held = {
            named.sha256
            for shard in shards
            for desk in shard.desks.values()
            for named in (desk.active, desk.previous, desk.shadow)
            if named is not None
        }
        return self._named() | held

    def _named(self) -> set[str]:
        trading = {bundle.sha256 for bundle in (*self.fold.active.values(), *self.fold.previous.values())}
        return trading | {target.sha256 for target in (*self.fold.rollouts.values(), *self.fold.shadows.values())}

    def inputs_for(self, shard: Shard, staged: Mapping[str, object]) -> tuple[StepInput, ...]:
        """Return what `control` holds that the shard has not applied; of bundles only what is staged."""
        effects = self._effects[bisect_left(self._effects, shard.control_to, key=attrgetter("offset")) :]
        return (*effects, *self._activations(shard, staged), *self._shadows(shard, staged))

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

    def _shadows(self, shard: Shard, staged: Mapping[str, object]) -> Iterator[BundleShadowed]:
        for name, desk in shard.desks.items():
            shadow, held = self.fold.shadows.get((desk.strategy, name)), desk.shadow
            if shadow is not None:
                if shadow.sha256 in staged and (held is None or held.offset < shadow.offset):
                    yield BundleShadowed(
                        offset=shadow.offset,
                        strategy=desk.strategy,
                        instrument=name,
                        bundle_id=shadow.bundle_id,
                        sha256=shadow.sha256,
                    )
            elif held is not None and (ended := self.fold.last_offset(f"shadow/{desk.strategy}/{name}")) > held.offset:
                yield BundleShadowed(offset=ended, strategy=desk.strategy, instrument=name)
