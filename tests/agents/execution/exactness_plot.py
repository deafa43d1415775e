"""What happens in the world of the exactness proof: instruments, bundles, and what operators write to `control`.

QUIET halts and resumes; EVENTFUL also swaps, goes back, shadows, moves the shard's share of the portfolio's limits,
trades two instruments whose records are decided together, and has a policy that fails until the bundle before takes
over.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from agents.execution.config import ExecutionConfig
from agents.execution.shard import Shard
from agents.execution.shard.config import DecisionConfig
from agents.execution.shard.step import Policy, ServingBundle, ShardConfig
from agents.risk.instruments import Instrument
from agents.risk.limits.file import Limits
from bundles.actions import ActionMapping
from bundles.errors import PolicyError
from bundles.features import Feature, FeatureSpec, Floats32, Observer
from messages import (
    Activate,
    Halt,
    RejectCode,
    Resume,
    Shadow,
)
from messages import Limits as LimitsMessage
from messages.control import ControlMessage

INSTRUMENT = Instrument(instrument="X", price_step=0.5, quantity_step=1.0, taker_fee_bps=1.0)
FLIP, FICKLE, ASIDE = "0" * 64, "1" * 64, "2" * 64
TICK_NS = 20_000_000
SPEC = FeatureSpec(features=(Feature(name="queue_imbalance", params={"events": 1}), Feature(name="position")))
WIDER = FeatureSpec(features=(*SPEC.features, Feature(name="spread")))
CONFIG = ExecutionConfig(
    flush_interval_ms=50,
    checkpoint_interval_ms=100,
    decisions=DecisionConfig(max_decision_age_ms=60_000, order_timeout_ms=60_000, conflate=False, max_policy_errors=2),
)
CONFLATED = msgspec.structs.replace(CONFIG, decisions=msgspec.structs.replace(CONFIG.decisions, conflate=True))


class FlipFlop:
    """A policy whose answer depends on the position, so on which reports were applied: deciding anew differs."""

    def act(self, observation: Floats32) -> tuple[float, ...]:
        return (_flip(observation),)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


class Fickle:
    """Answers as FlipFlop does, the other way round, and fails while it is short."""

    def act(self, observation: Floats32) -> tuple[float, ...]:
        if observation[1] < 0:
            raise PolicyError(RejectCode.NOT_FINITE, "it is short")
        return (2.0 - _flip(observation),)

    def act_batch(self, observations: Floats32) -> list[tuple[float, ...]]:
        return [self.act(row) for row in observations]


def _flip(observation: Floats32) -> float:
    imbalance, position = observation.tolist()[:2]
    if position > 0:
        return 0.0
    return 2.0 if imbalance > 0 else 1.0 if position < 0 else 0.0


def _serving(sha256: str, policy: Policy, spec: FeatureSpec) -> ServingBundle:
    return ServingBundle(
        strategy="s",
        bundle_id=f"b{sha256[0]}",
        sha256=sha256,
        policy=policy,
        observer=Observer(spec),
        actions=ActionMapping(kind="levels", max_position=3.0),
    )


BUNDLES: Mapping[str, ServingBundle] = {
    FLIP: _serving(FLIP, FlipFlop(), SPEC),
    FICKLE: _serving(FICKLE, Fickle(), WIDER),
    ASIDE: _serving(ASIDE, FlipFlop(), WIDER),
}


class Plot(Struct, frozen=True, kw_only=True):
    """What operators write before each tick, from the first on, and what is traded."""

    writes: Mapping[int, tuple[ControlMessage, ...]]
    instruments: tuple[str, ...] = ("X",)
    config: ExecutionConfig = CONFIG


def activate(instrument: str, sha256: str, expects: int) -> Activate:
    return Activate(
        strategy="s",
        instrument=instrument,
        bundle_id=BUNDLES[sha256].bundle_id,
        sha256=sha256,
        expects=expects,
        ts=0,
        who="me",
    )


def _shadow(expects: int, sha256: str | None = None) -> Shadow:
    """Let a bundle decide beside on X, or end it."""
    named = {} if sha256 is None else {"bundle_id": BUNDLES[sha256].bundle_id, "uri": "file:///b", "sha256": sha256}
    return Shadow(strategy="s", instrument="X", expects=expects, ts=0, who="me", **named)


def _halt() -> Halt:
    return Halt(scope="portfolio", level="reducing", writer="risk", reason="test", ts=0)


def _resume(*clears: int) -> Resume:
    return Resume(scope="portfolio", clears=clears, who="me", reason="test", ts=0)


def _share(version: int, gross: float) -> LimitsMessage:
    return LimitsMessage(version=version, changes={"shares.0.gross": gross}, who="risk-1", reason="test", ts=0)


# By offset: the log's id is 0, then comes an Activate of FLIP for each instrument, then what is written.
QUIET = Plot(writes={4: (_halt(),), 6: (_resume(2),)})
EVENTFUL = Plot(
    writes={
        1: (_shadow(-1, ASIDE),),  # 3
        2: (activate("X", FICKLE, 1),),  # 4
        3: (_halt(),),  # 5
        4: (_resume(5),),  # 6
        5: (activate("Y", FICKLE, 2), _share(1, 0.0002)),  # 7, 8: room for one of the two instruments
        6: (_share(2, 2.0), activate("X", FLIP, 4)),  # 9, 10: more than there is, so the share stays
        7: (_share(3, 1.0), _shadow(3)),  # 11, 12
        8: (activate("X", FICKLE, 10), _share(3, 0.0)),  # 13, 14: not the next version, so void
    },
    instruments=("X", "Y"),
    config=CONFLATED,
)


def new_shard(plot: Plot = QUIET) -> Shard:
    instruments = {name: msgspec.structs.replace(INSTRUMENT, instrument=name) for name in plot.instruments}
    config = ShardConfig(
        partition=0,
        instruments=instruments,
        strategies=dict.fromkeys(plot.instruments, "s"),
        decisions=plot.config.decisions,
    )
    return Shard(config, limits=Limits.convert({"defaults": {"duplicate_window_ms": 0}}), bundles=BUNDLES, partitions=1)
