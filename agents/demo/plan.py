"""What a demo run does: its market, its settings and its timeline."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from agents.errors import SettingsError
from agents.feed.config import FeedConfig, open_source
from agents.feed.instruments import infer_instruments
from agents.feed.synthetic import SyntheticConfig, synthetic_instruments
from agents.risk.instruments import Instrument
from agents.settings import Settings
from agents.trainer.config import EnvironmentConfig
from bundles.actions import ActionMapping
from messages.market import Bar, MarketMessage, Observation, Quote

STRATEGY = "demo"
POSITION_VALUE = 10_000.0
TRAIN_AT, ANNOUNCE_AT = 0.35, 0.6
MIN_TICKS_TO_TRAIN = 2_000
BRISK_MS = 250  # between two messages on average: at this pace and faster, agents keep their own intervals


class DemoOptions(Struct, frozen=True, kw_only=True):
    """What the user chose. `speed` is times as recorded, 0: as fast as it goes on a virtual clock."""

    data: tuple[str, ...] = ()
    instrument: str | None = None
    seed: Annotated[int, Meta(ge=0)] = 0
    speed: Annotated[float, Meta(ge=0)] = 0.0
    ticks: int | None = None
    timesteps: int = 60_000
    is_trained: bool = True


class DemoPlan(Struct, frozen=True, kw_only=True):
    """The market in order of ts_recv, the settings, and the ticks at which training starts and its bundle is due."""

    options: DemoOptions
    messages: Sequence[MarketMessage]
    settings: Settings
    train_at: int
    announce_at: int

    @property
    def is_trained(self) -> bool:
        """Whether a policy is trained: asked for, and data enough."""
        return self.options.is_trained and self.train_at >= MIN_TICKS_TO_TRAIN


class PlannedSource:
    """The plan's market as a feed source."""

    def __init__(self, messages: Sequence[MarketMessage]) -> None:
        self._messages = messages

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(message.instrument for message in self._messages))

    @property
    def count(self) -> int | None:
        return len(self._messages)

    def __iter__(self) -> Iterator[MarketMessage]:
        return iter(self._messages)


def make_plan(options: DemoOptions, home: Path, base: Settings | None = None) -> DemoPlan:
    """Return the plan of a run that keeps its keys and bundles under `home`. Raises FeedRefused, SettingsError."""
    base = base or Settings()
    feed = _feed(options, base.feed)
    messages = list(open_source(feed))
    if options.data and options.ticks is not None:
        messages = messages[: options.ticks]
    if not messages:
        raise SettingsError("demo", "the data hold no messages")
    instruments = _instruments(options, base, feed, messages)
    names = tuple(instrument.instrument for instrument in instruments)
    actions = ActionMapping(
        kind="levels",
        max_position=_max_position(options, messages),
        decide_every=base.trainer.environment.actions.decide_every,
    )
    settings = msgspec.structs.replace(
        base,
        bus="memory://",
        shards=min(base.shards, 2),
        instruments=tuple(instruments),
        strategies={STRATEGY: names},
        trust=str(home / "trust"),
        registry=(home / "bundles").resolve().as_uri(),
        feed=feed,
        execution=msgspec.structs.replace(
            base.execution,
            decisions=msgspec.structs.replace(base.execution.decisions, conflate=options.speed > 0),
        ),
        trainer=msgspec.structs.replace(
            base.trainer,
            seed=options.seed,
            timesteps=options.timesteps,
            strategy=STRATEGY,
            instruments=names,
            models_dir=str(home / "models"),
            signing_key=str(home / "keys" / "demo.key"),
            environment=msgspec.structs.replace(
                base.trainer.environment,
                actions=actions,
                latency_ns=base.venue.latency_ns,
            ),
        ),
    )
    return DemoPlan(
        options=options,
        messages=messages,
        settings=_slowed(settings, messages),
        train_at=int(len(messages) * TRAIN_AT),
        announce_at=int(len(messages) * ANNOUNCE_AT),
    )


def _slowed(settings: Settings, messages: Sequence[MarketMessage]) -> Settings:
    """On bars a virtual second is nothing: heartbeats, timers and what waits for them go at the market's pace."""
    span_ms = (messages[-1].ts_recv - messages[0].ts_recv) // 1_000_000
    pace = span_ms // (len(messages) * BRISK_MS)
    if pace <= 1:
        return settings
    replace = msgspec.structs.replace
    beat_ms = 1_000 * pace
    return replace(
        settings,
        execution=replace(
            settings.execution,
            heartbeat_interval_ms=beat_ms,
            timer_interval_ms=beat_ms,
            risk_timeout_ms=settings.execution.risk_timeout_ms * pace,
            checkpoint_interval_ms=settings.execution.checkpoint_interval_ms * pace,
        ),
        orchestrator=replace(
            settings.orchestrator,
            heartbeat_interval_ms=beat_ms,
            replica_timeout_ms=settings.orchestrator.replica_timeout_ms * pace,
        ),
        risk=replace(settings.risk, heartbeat_interval_ms=beat_ms, snapshot_interval_ms=beat_ms),
        venue=replace(settings.venue, heartbeat_interval_ms=beat_ms),
        trainer=replace(settings.trainer, heartbeat_interval_ms=beat_ms),
        feed=replace(settings.feed, heartbeat_interval_ms=beat_ms),
    )


def environment_of(plan: DemoPlan) -> EnvironmentConfig:
    """Return the market that the policy is trained in."""
    return plan.settings.trainer.environment


def _feed(options: DemoOptions, base: FeedConfig) -> FeedConfig:
    if options.data:
        return msgspec.structs.replace(
            base,
            source="files",
            files=options.data,
            instrument=options.instrument or base.instrument,
            speed=options.speed,
        )
    synthetic = msgspec.structs.replace(
        base.synthetic, seed=options.seed, ticks=options.ticks or SyntheticConfig().ticks
    )
    return msgspec.structs.replace(base, source="synthetic", synthetic=synthetic, speed=options.speed)


def _instruments(
    options: DemoOptions, base: Settings, feed: FeedConfig, messages: Sequence[MarketMessage]
) -> list[Instrument]:
    known = {instrument.instrument: instrument for instrument in base.instruments}
    if not options.data:
        known |= {instrument.instrument: instrument for instrument in synthetic_instruments(feed.synthetic.instruments)}
    found = list(dict.fromkeys(message.instrument for message in messages))
    missing = {name for name in found if name not in known}
    inferred = infer_instruments((m for m in messages if m.instrument in missing), feed.fees)
    known |= {instrument.instrument: instrument for instrument in inferred}
    return [known[name] for name in found if name in known]


def _max_position(options: DemoOptions, messages: Sequence[MarketMessage]) -> float:
    """One unit for the synthetic market, whose contracts are worth about the same; else a round number of units."""
    if not options.data:
        return 1.0
    first = next((message for message in messages if not isinstance(message, Observation)), None)
    price = _price(first) if first is not None else POSITION_VALUE
    return float(10.0 ** math.floor(math.log10(POSITION_VALUE / price)))


def _price(message: MarketMessage) -> float:
    if isinstance(message, Quote):
        return (message.bid + message.ask) / 2
    return message.close if isinstance(message, Bar) else message.price  # type: ignore[union-attr]
