"""A feature of one's own, from the function to a bundle that Execution serves.

    python examples/own_feature.py                     # some seconds, on made-up data

The policy is written down instead of trained, to be short: it buys when the feature is high and sells when it is low.
With training, `EnvironmentConfig(user_features=...)` is all there is to say: examples/train_risk_aware_model.py.
"""

# ruff: noqa: T201 - a program that tells what it finds

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from agents.execution.staging import serving
from agents.feed.synthetic import SyntheticConfig, SyntheticSource
from agents.trainer.config import EnvironmentConfig
from bundles import load_bundle
from bundles.errors import BundleRefused
from bundles.export import export_module
from bundles.features import (
    ASK_SIZE,
    BID_SIZE,
    IS_QUOTE,
    KIND,
    Feature,
    FeatureSpec,
    TickRing,
    load_user_features,
    tick_rows,
    user_feature,
)
from bundles.signing import SigningKey


def skew(rows: Any, events: int) -> float:
    """Return how much more stood to buy than to sell in the last `events` ticks, -1 to 1; NaN without any size."""
    bids = asks = 0.0
    for row in range(max(0, len(rows) - events), len(rows)):
        if rows[row, KIND] == IS_QUOTE:
            bids += rows[row, BID_SIZE]
            asks += rows[row, ASK_SIZE]
    return (bids - asks) / (bids + asks)


ALLOWED = {"skew": "own_feature:skew"}  # in the settings: features: {allow: {skew: "own_feature:skew"}}
SPEC = FeatureSpec(features=(Feature(name="skew", params={"events": 32}), Feature(name="position")))


class FollowsSkew(torch.nn.Module):
    """Short, flat or long, by the first feature."""

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        skew = obs[:, 0:1]
        outputs = torch.cat([-skew, skew * 0.0 + 0.05, skew], dim=1)
        return outputs.argmax(dim=1), outputs


def skew_of_another_day(rows: Any, events: int) -> float:
    """As above, but the queues alone: another text, so another feature."""
    return rows[-1, BID_SIZE] / (rows[-1, BID_SIZE] + rows[-1, ASK_SIZE]) if events else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=4_000, help="made-up quotes and trades")
    options = parser.parse_args(arguments)
    environment = EnvironmentConfig(features=SPEC, user_features=ALLOWED)
    observer = environment.observer()
    messages = list(SyntheticSource(SyntheticConfig(ticks=options.ticks, seed=1, instruments=1)))
    ((instrument, rows),) = tick_rows(messages).items()
    observations, ready = observer.observe_all(rows)
    print(f"{instrument}: {ready.sum()} observations of {len(rows)} ticks, skew {observations[ready, 0].mean():.3f}")

    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.mkdir()
        key = SigningKey.generate()
        key.write(keys / "trainer.key")
        path = export_module(
            FollowsSkew(),
            out_dir=Path(folder),
            obs_shape=(SPEC.size,),
            run_name="follows-skew",
            strategy="demo",
            instruments=(instrument,),
            features=observer.spec,
            actions=environment.actions,
            sequence=1,
            created=0,
            key=key,
            observations=observations[ready],
        )
        loaded = load_bundle(path, trust=keys)
    features = loaded.manifest.features
    print(f"the bundle says: {msgspec.json.encode(features).decode()}")

    bundle = serving(loaded, load_user_features(ALLOWED))  # what Execution does when it stages the bundle
    ring, out = TickRing(), np.zeros(SPEC.size, dtype=np.float32)
    for message in messages:
        ring.push(message)  # type: ignore[arg-type]
    assert bundle.observer is not None  # noqa: S101 - for the reader
    bundle.observer.observe(ring, out, 0.0, 0.0, 0)
    is_equal = out.tobytes() == observations[-1].tobytes()
    print(
        f"live after the last tick: {out.tolist()}, equal to the last bit: {is_equal}; action {bundle.policy.act(out)}"
    )

    for user_features in ({}, {"skew": user_feature("skew", skew_of_another_day)}):
        try:
            serving(loaded, user_features)
        except BundleRefused as refusal:
            print(f"refused, {refusal}")
    return 0 if is_equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
