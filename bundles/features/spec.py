"""What an observation is made of: features by name, in order."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from bundles.features.library import KINDS, LIBRARY_VERSION, PARAMETERS, complaint, ticks_needed
from messages import Refused
from messages.fields import Digest


class FeaturesRefused(Refused):
    """Raised when a spec can't be computed here with the numbers that its policy was trained on."""


class UnknownFeature(FeaturesRefused):
    """Raised when a spec names a feature, or a parameter of one, that this version can't compute."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"feature {name!r}: {detail}; known are {', '.join(sorted(KINDS))}")
        self.name, self.detail = name, detail


class OtherLibrary(FeaturesRefused):
    """Raised when a spec's hash is not the one that this version gives it."""

    def __init__(self, said: str, found: str) -> None:
        super().__init__(
            f"the features' hash is {said}, here they have {found}: another version of the library has made them; "
            "use that version of tickpilot, or train again with this one"
        )
        self.said, self.found = said, found


class Feature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One feature: its name, in the library or among the user's own, and its parameters.

    `source` is None for the library's, for a user's the sha256 of its function's source.
    """

    name: str
    params: dict[str, int] = {}
    source: Digest | None = None

    @property
    def label(self) -> str:
        """Return e.g. `return_8`, `return_500ms`."""
        units = {key: parameter.unit for key, parameter in PARAMETERS.items()}
        return "_".join([self.name, *(f"{value}{units.get(key, '')}" for key, value in sorted(self.params.items()))])


class FeatureSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ordered features of an observation. Nothing is checked before `Observer` or `check_spec` sees it.

    `hash` is what `digest` was where the spec was made; None: not said.
    """

    features: tuple[Feature, ...]
    hash: Digest | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the label of each feature, in order."""
        return tuple(feature.label for feature in self.features)

    @property
    def size(self) -> int:
        """Return how many values an observation has."""
        return len(self.features)

    @property
    def digest(self) -> str:
        """Return the sha256 (hex) of the canonical JSON and the library's version: equal means equal numbers."""
        content = {"library": LIBRARY_VERSION, "features": [_content(feature) for feature in self.features]}
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()

    @property
    def sealed(self) -> "FeatureSpec":
        """Return it with its hash; one that says it already stays as it is."""
        return self if self.hash is not None else FeatureSpec(features=self.features, hash=self.digest)

    @property
    def min_ticks(self) -> int:
        """Return how many ticks the ring must hold before there is an observation; a user's feature needs one."""
        known = [feature for feature in self.features if feature.name in KINDS]
        return max((ticks_needed(feature.name, feature.params) for feature in known), default=1)

    def position_of(self, name: str) -> int | None:
        """Return the index of the first feature of that name, or None."""
        return next((index for index, feature in enumerate(self.features) if feature.name == name), None)


def _content(feature: Feature) -> Mapping[str, Any]:
    content = {"name": feature.name, "params": feature.params}
    return content if feature.source is None else {**content, "source": feature.source}


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
    """Raise FeaturesRefused when this version can't compute `spec`: UnknownFeature for a feature, OtherLibrary for its
    hash. Whether a user's own feature is here, and the same, `Observer` alone can tell.
    """
    if not spec.features:
        raise UnknownFeature("", "the spec names no feature")
    for feature in spec.features:
        is_known = feature.name in KINDS
        if not is_known and feature.source is None:
            raise UnknownFeature(feature.name, "not in the library, and not said to be a user's own (by its `source`)")
        if is_known and feature.source is not None:
            raise UnknownFeature(feature.name, "has a `source`, but the library's features have none")
        if is_known and (wrong := complaint(feature.name, feature.params)) is not None:
            raise UnknownFeature(feature.name, wrong)
    if spec.hash not in (None, spec.digest):
        raise OtherLibrary(str(spec.hash), spec.digest)
