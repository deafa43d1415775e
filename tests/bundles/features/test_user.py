"""A user's own feature is computed like the library's, and is the function that its source says, or none."""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from bundles.features import (
    BadUserFeature,
    Feature,
    FeatureFailed,
    FeatureSpec,
    Observer,
    SourceChanged,
    TickRing,
    UnknownFeature,
    load_user_features,
    user_feature,
)
from tests.bundles.features import own
from tests.bundles.features.streams import CAPACITY, Stream, observed, quote, rows_of, streams, walk

SKEW = Feature(name="skew", params={"events": 4})
USER = load_user_features({"skew": f"{own.__name__}:skew", "age": f"{own.__name__}:age"})


def spec(*features: Feature) -> FeatureSpec:
    return FeatureSpec(features=features)


@settings(max_examples=6, deadline=None)
@given(streams(50, 500))
def test_streaming_equals_batch_bit_for_bit(stream: Stream) -> None:
    messages = stream.messages
    mixed = spec(SKEW, Feature(name="spread"), Feature(name="age", params={"power": 2, "scale_ms": 100}))
    observer = Observer(mixed, USER)
    batch, ready = observer.observe_all(rows_of(messages), CAPACITY)
    assert batch.tobytes() == observed(messages, observer).tobytes()
    assert not batch[~ready].any()


def test_it_is_the_function_with_its_parameters_by_name() -> None:
    messages = walk(200, seed=1)
    rows = rows_of(messages)
    observer = Observer(spec(SKEW, Feature(name="age", params={"power": 2, "scale_ms": 100})), USER)
    values, ready = observer.observe_all(rows)
    assert ready[-1]
    assert values[-1].tolist() == np.array([own.skew(rows, 4), own.age(rows, 100, 2)], np.float32).tolist()


def test_a_spec_gets_the_sources_of_its_functions_and_its_hash() -> None:
    sealed = Observer(spec(SKEW, Feature(name="spread")), USER).spec
    source = hashlib.sha256(inspect.getsource(own.skew).encode()).hexdigest()
    assert [feature.source for feature in sealed.features] == [source, None]
    assert sealed.hash == sealed.digest != spec(SKEW, Feature(name="spread")).digest
    assert Observer(sealed, USER).spec == sealed


def test_a_feature_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(UnknownFeature, match=r"features: \{allow: \{skew:"):
        Observer(spec(SKEW))


def test_another_source_is_refused() -> None:
    sealed = Observer(spec(SKEW), USER).spec
    with pytest.raises(SourceChanged, match="train again"):
        Observer(sealed, {"skew": user_feature("skew", own.other_skew)})


@pytest.mark.parametrize("params", [{}, {"ticks": 4}, {"events": 4, "ms": 4}])
def test_other_parameters_than_the_functions_are_refused(params: dict[str, int]) -> None:
    with pytest.raises(UnknownFeature, match=r"\['events'\]"):
        Observer(spec(Feature(name="skew", params=params)), USER)


def test_a_parameter_beyond_64_bits_is_refused() -> None:
    with pytest.raises(UnknownFeature, match="64 bits"):
        Observer(spec(Feature(name="skew", params={"events": 2**63})), USER)


def test_what_is_not_finite_is_no_observation() -> None:
    observer = Observer(spec(SKEW), USER)
    ring, out = TickRing(), np.zeros(1, dtype=np.float32)
    ring.push(quote(0, 100, 101, 0, 0))
    assert not observer.observe(ring, out, 0.0, 0.0, 0)
    ring.push(quote(1, 100, 101, 3, 1))
    assert observer.observe(ring, out, 0.0, 0.0, 0)
    assert out.tolist() == [0.5]


def test_what_it_raises_names_the_feature_and_ticks_beyond_the_rings_are_not_seen() -> None:
    observer = Observer(
        spec(Feature(name="mid_of", params={"tick": 9})),
        {"mid_of": user_feature("mid_of", own.mid_of)},
    )
    ring, out = TickRing(10), np.zeros(1, dtype=np.float32)
    for n in range(25):
        ring.push(quote(n, 100 + n, 102 + n))
    assert observer.observe(ring, out, 0.0, 0.0, 0)
    assert out.tolist() == [125.0]
    short = TickRing(9)
    for n in range(25):
        short.push(quote(n, 100 + n, 102 + n))
    with pytest.raises(FeatureFailed, match=r"mid_of_9.*math\.nan"):
        observer.observe(short, out, 0.0, 0.0, 0)
    with pytest.raises(FeatureFailed):
        observer.observe_all(rows_of([quote(n, 100, 101) for n in range(25)]), 9)


def closure() -> Callable[..., float]:
    events = 3

    def function(rows: Any) -> float:
        return float(len(rows) + events)

    return function


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (own.scaled, "SCALE"),
        (own.writes, "compile"),
        (own.many, "without defaults"),
        (own.optional, "without defaults"),
        (closure(), "around it"),
        (len, "no plain Python function"),
    ],
)
def test_a_function_that_says_less_than_it_does_is_refused(function: Any, words: str) -> None:
    with pytest.raises(BadUserFeature, match=words):
        user_feature("mine", function)


def test_the_librarys_names_are_taken() -> None:
    with pytest.raises(BadUserFeature, match="choose another"):
        user_feature("spread", own.skew)


@pytest.mark.parametrize("where", ["skew", "no_such_module_of_mine:skew", f"{own.__name__}:nothing", ":skew"])
def test_what_cant_be_imported_is_refused(where: str) -> None:
    with pytest.raises(BadUserFeature, match="mine"):
        load_user_features({"mine": where})
