"""What an observation is made of: features by name, in order."""

import hashlib

import msgspec
from msgspec import Struct

from bundles.features.kernel import (
    FLOW,
    HELD,
    MICROPRICE,
    POSITION,
    QUEUE,
    RATE,
    RETURN,
    SCALE_EVENTS,
    SPREAD,
    UNREALIZED,
    VOLATILITY,
)
from messages import Refused

MAX_EVENTS = 256  # half the ring: a window's first price may stand in a quote long before it
LIBRARY_VERSION = 1


class Kind(Struct, frozen=True):
    code: int
    windowed: bool
    scaled: bool
    meaning: str


KINDS: dict[str, Kind] = {
    "return": Kind(RETURN, True, True, "mid now / mid `events` ticks ago - 1, in standard deviations"),
    "spread": Kind(SPREAD, False, False, "s / (s + 1 bp), s = (ask - bid) / mid"),
    "microprice": Kind(MICROPRICE, False, True, "(size-weighted mid - mid) / mid, in standard deviations of a tick"),
    "queue_imbalance": Kind(
        QUEUE, True, False, "(bid size - ask size) / (bid size + ask size), mean of the last `events` ticks"
    ),
    "trade_flow": Kind(FLOW, True, False, "(bought - sold) / (bought + sold) in the last `events` ticks"),
    "volatility": Kind(VOLATILITY, True, False, "v / (v + 5 bp), v = root of the summed squared tick returns"),
    "rate": Kind(RATE, True, False, "r / (r + 10 a second), r = ticks a second over `events` ticks"),
    "position": Kind(POSITION, False, False, "position / max_position"),
    "unrealized": Kind(UNREALIZED, False, False, "u / (|u| + 10 bp), u = return of the open position since entry"),
    "held": Kind(HELD, False, False, "t / (t + 60 s), t = time that the position has been held"),
}


class UnknownFeature(Refused):
    """Raised when a spec names a feature, or a parameter of one, that this version can't compute."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"feature {name!r}: {detail}; known are {', '.join(sorted(KINDS))}")
        self.name, self.detail = name, detail


class Feature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature: its name in the library and its parameters. `events`: a window in ticks, 1 to 256."""

    name: str
    params: dict[str, int] = {}

    @property
    def label(self) -> str:
        """Return e.g. `return_8`."""
        return "_".join([self.name, *(str(value) for _, value in sorted(self.params.items()))])


class FeatureSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ordered features of an observation. Nothing is checked before `Observer` or `check_spec` sees it."""

    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the label of each feature, in order."""
        return tuple(feature.label for feature in self.features)

    @property
    def size(self) -> int:
        """Return how many values an observation has."""
        return len(self.features)

    @property
    def hash(self) -> str:
        """Return the sha256 (hex) of the canonical JSON and the library's version: equal means equal numbers."""
        content = {"library": LIBRARY_VERSION, "features": msgspec.to_builtins(self.features)}
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()

    @property
    def min_ticks(self) -> int:
        """Return how many ticks the ring must hold before there is an observation."""
        return max((_ticks_needed(feature) for feature in self.features), default=1)

    def position_of(self, name: str) -> int | None:
        """Return the index of the first feature of that name, or None."""
        return next((index for index, feature in enumerate(self.features) if feature.name == name), None)


DEFAULT_FEATURES = FeatureSpec(
    features=(
        Feature(name="return", params={"events": 1}),
        Feature(name="return", params={"events": 8}),
        Feature(name="return", params={"events": 32}),
        Feature(name="return", params={"events": 128}),
        Feature(name="spread"),
        Feature(name="queue_imbalance", params={"events": 1}),
        Feature(name="queue_imbalance", params={"events": 16}),
        Feature(name="trade_flow", params={"events": 32}),
        Feature(name="volatility", params={"events": 128}),
        Feature(name="position"),
        Feature(name="unrealized"),
    )
)


def check_spec(spec: FeatureSpec) -> None:
    """Raise UnknownFeature when this version can't compute a feature of `spec`, or when it has none."""
    if not spec.features:
        raise UnknownFeature("", "the spec names no feature")
    for feature in spec.features:
        kind = KINDS.get(feature.name)
        if kind is None:
            raise UnknownFeature(feature.name, "not in the library")
        wanted = {"events"} if kind.windowed else set()
        if set(feature.params) != wanted:
            raise UnknownFeature(feature.name, f"takes the parameters {sorted(wanted)}, not {sorted(feature.params)}")
        if kind.windowed and not 1 <= feature.params["events"] <= MAX_EVENTS:
            raise UnknownFeature(feature.name, f"events is {feature.params['events']}, must be 1 to {MAX_EVENTS}")


def _ticks_needed(feature: Feature) -> int:
    kind = KINDS.get(feature.name)
    scaled = SCALE_EVENTS + 1 if kind is not None and kind.scaled else 1
    return max(scaled, feature.params.get("events", 0) + 1)
