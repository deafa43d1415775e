"""Settings files, policies and market data for journeys on a real Kafka."""

import gzip
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from agents.feed.synthetic import synthetic_instruments
from agents.trainer.config import EnvironmentConfig
from bundles.actions import ActionMapping
from bundles.export import export_module
from bundles.manifest import MANIFEST_NAME, SIGNATURE_NAME, bundle_id, decode_manifest
from bundles.registry import Registry, read_files
from bundles.signing import SigningKey
from tests.journeys.processes import ROOT

STRATEGY = "imbalance"
SHARDS = 3
BTC = "BTCUSDT.BINANCE"
INSTRUMENTS = (BTC, "SYN-A", "SYN-B")  # murmur2 puts them into partitions 0, 1 and 2 of three
CREATED = 1_767_600_000_000_000_000
_NAME = "binance_spot_btcusdt_20240808_09"


class Announced(Struct, frozen=True, kw_only=True):
    """A bundle as it lies in the registry, and its announcement as a user writes it."""

    uri: str
    sha256: str
    bundle_id: str
    announcement: dict[str, Any]


def recorded_files() -> tuple[Path, Path] | None:
    """Return the real BTC quotes and trades, when they are there."""
    data = Path(os.environ.get("TICKPILOT_DATA", ROOT.parent / "shared" / "data"))
    quotes, trades = data / f"{_NAME}_quotes.csv.gz", data / f"{_NAME}_trades.csv.gz"
    return (quotes, trades) if quotes.exists() and trades.exists() else None


def cut(recorded: tuple[Path, Path], directory: Path, *, rows: int) -> tuple[tuple[str, ...], int]:
    """Write the first `rows` rows (by time) of quotes and trades to CSV files; return their paths and the count."""
    files = [(path, *_rows(path)) for path in recorded]
    times = sorted(time for _, _, lines in files for time, _ in lines)
    last = times[min(rows, len(times)) - 1]
    written = []
    for path, header, lines in files:
        kept = [line for time, line in lines if time <= last]
        target = directory / path.name.removesuffix(".gz")
        target.write_text("".join([header, *kept]), encoding="utf-8")
        written.append(str(target))
    return tuple(written), sum(time <= last for time in times)


def _rows(path: Path) -> tuple[str, list[tuple[int, str]]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header = file.readline()
        return header, [(int(line.split(",", 2)[1]), line) for line in file]


def base_settings(url: str, prefix: str, home: Path) -> dict[str, Any]:
    """Return settings for three shards with one instrument each, under limits that a busy policy can live with."""
    synthetic = [
        {field: getattr(instrument, field) for field in instrument.__struct_fields__}
        for instrument in synthetic_instruments(2)
    ]
    bitcoin = {"instrument": BTC, "price_step": 0.01, "quantity_step": 0.00001, "taker_fee_bps": 1.0}
    return {
        "bus": url,
        "prefix": prefix,
        "shards": SHARDS,
        "cash": 1_000_000.0,
        "trust": str(home / "trusted"),
        "registry": (home / "registry").as_uri(),
        "instruments": [bitcoin, *synthetic],
        "strategies": {STRATEGY: list(INSTRUMENTS)},
        "limits": {"defaults": {"max_position": 2.0, "max_order_value": 500_000.0, "max_repeated_executions": 100_000}},
        "risk": {"snapshot_interval_ms": 200},
    }


def write_settings(path: Path, settings: dict[str, Any]) -> Path:
    """Write a settings file."""
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def new_key(home: Path) -> SigningKey:
    """Make a key that the settings of `home` trust."""
    (home / "trusted").mkdir()
    key = SigningKey.generate()
    key.write(home / "private.pem")
    for public in home.glob("*.pub"):
        public.rename(home / "trusted" / public.name)
    return key


def make_bundle(
    home: Path,
    *,
    sequence: int,
    enter: float,
    key: SigningKey,
    decide_every: int = 6,
    instruments: tuple[str, ...] = INSTRUMENTS,
    strategy: str = STRATEGY,
    resting_ticks: int | None = None,
) -> Announced:
    """Export a policy that goes with a queue imbalance beyond `enter`, sign it and put it into the registry.

    With `resting_ticks` its orders are GTC, so far inside the spread.
    """
    actions = ActionMapping(kind="levels", max_position=1.0, decide_every=decide_every)
    if resting_ticks is not None:
        actions = msgspec.structs.replace(
            actions, order_type="limit", time_in_force="GTC", limit_offset_ticks=resting_ticks
        )
    directory = export_module(
        _imbalance_policy(enter),
        out_dir=home / "models",
        obs_shape=(EnvironmentConfig().features.size,),
        algo="imbalance",
        strategy=strategy,
        instruments=instruments,
        features=EnvironmentConfig().features,
        actions=actions,
        sequence=sequence,
        created=CREATED,
        key=key,
        run_name=f"{strategy}-{sequence}-{decide_every}",
    )
    files = read_files(str(directory))
    uri = Registry((home / "registry").as_uri()).put(files)
    return _announced(uri, files, sequence, strategy)


def _imbalance_policy(enter: float) -> Any:
    import torch

    features = EnvironmentConfig().features
    imbalance = features.position_of("queue_imbalance")

    class Imbalance(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weights = torch.zeros(3, features.size)
            weights[0, imbalance], weights[2, imbalance] = -1.0, 1.0
            self.register_buffer("weights", weights)
            self.register_buffer("bias", torch.tensor([0.0, enter, 0.0]))

        def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores = torch.nn.functional.linear(observations, self.weights, self.bias)  # type: ignore[arg-type]
            return scores.argmax(dim=1), scores

    return Imbalance()


def tampered(home: Path, *, sequence: int, key: SigningKey) -> Announced:
    """Return a signed bundle in which one byte of the policy was changed after signing."""
    good = make_bundle(home, sequence=sequence, enter=0.7, key=key)
    policy = Path(good.uri.removeprefix("file://")) / "policy.pt"
    content = bytearray(policy.read_bytes())
    content[len(content) // 2] ^= 1
    policy.chmod(0o644)
    policy.write_bytes(content)
    return good


def unsigned(home: Path, *, sequence: int, key: SigningKey) -> Announced:
    """Return a bundle whose signature was taken away."""
    good = make_bundle(home, sequence=sequence, enter=0.8, key=key)
    (Path(good.uri.removeprefix("file://")) / SIGNATURE_NAME).unlink()
    return good


def _announced(uri: str, files: dict[str, bytes], sequence: int, strategy: str) -> Announced:
    digest = hashlib.sha256(files[MANIFEST_NAME]).hexdigest()
    identity = bundle_id(decode_manifest(files[MANIFEST_NAME]))
    return Announced(
        uri=uri,
        sha256=digest,
        bundle_id=identity,
        announcement={
            "type": "BundleReady",
            "bundle_id": identity,
            "strategy": strategy,
            "uri": uri,
            "sha256": digest,
            "sequence": sequence,
            "created": CREATED,
        },
    )
