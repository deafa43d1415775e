"""Bundles: act against the bare frozen call of the same policy, a sparse feed, loading, growth, the other backends.

Rounds alternate in one process; medians over the rounds. The SLO is judged on the sparse feed, kept warm, for each
backend that serves these bundles.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from agents.lifecycle.process import run_async
from bundles.bench import (
    SLO_FIGURE,
    Effort,
    Figure,
    circumstances,
    first_call_figures,
    hot_figures,
    leak_figures,
    load_figures,
    paced_figures,
)
from bundles.export import export_module
from bundles.latency import SLO_US
from bundles.manifest import decode_manifest
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from bundles.verifier import Verifier
from messages import SystemClock
from tests.bench.measure import about, result
from tests.bundles.samples import LEVELS

OBS = 11
EFFORT = Effort()
# Of the value itself, or of its ratio to the baseline.
RATIOS = {
    "act, torchscript, hot, p50": 1.25,
    "act, torchscript, hot, p99": 1.5,
    "act, onnx, hot, p50": 0.7,
}
VALUES = {
    SLO_FIGURE: SLO_US,
    SLO_FIGURE.replace("torchscript", "mlp"): SLO_US,
    SLO_FIGURE.replace("torchscript", "onnx"): SLO_US,
    "verify, load and warm": 50.0,
    "scan and golden answers in the verifier process": 500.0,
    f"growth over {EFFORT.loads} loads": 5.0,
}


def policy(width: int, *, is_normalised: bool) -> Any:
    """11 numbers in, two hidden layers, three actions; with what VecNormalize does in front."""

    class Policy(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            layers = (torch.nn.Linear(OBS, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU())
            self.network = torch.nn.Sequential(*layers, torch.nn.Linear(width, 3))
            self.register_buffer("mean", torch.full((OBS,), 0.1, dtype=torch.float64))

        def forward(self, obs: Any) -> Any:
            mean: Any = self.mean
            scaled = ((obs.to(torch.float64) - mean) / 0.7).clamp(-10.0, 10.0).to(torch.float32)
            outputs = self.network(scaled if is_normalised else obs)
            return outputs.argmax(dim=1), outputs

    return Policy().eval()


def bundle(home: Path, name: str, module: Any, key: SigningKey, *formats: str) -> dict[str, bytes]:
    directory = export_module(
        module, out_dir=home, obs_shape=(OBS,), strategy="bench", instruments=("A",), features=None, actions=LEVELS,
        sequence=1, created=1, key=key, run_name=name, formats=formats,
    )  # fmt: skip
    return read_files(str(directory))


async def measure(home: Path) -> list[dict[str, Any]]:
    key, clock = SigningKey.generate(), SystemClock()
    small = bundle(home, "small", policy(64, is_normalised=False), key, "onnx")
    normalised = bundle(home, "normalised", policy(64, is_normalised=True), key, "onnx")
    large = bundle(home, "large", policy(256, is_normalised=True), key)
    manifest = decode_manifest(small["metadata.json"])
    async with Verifier() as verifier:
        figures = [
            *first_call_figures(small, manifest, clock),
            *hot_figures(small, manifest, clock, EFFORT),
            *named("with a normaliser", hot_figures(normalised, manifest, clock, EFFORT)),
            *await paced_figures(normalised, manifest, clock, EFFORT),
            *await load_figures(large, TrustStore.of([key]), verifier, clock, EFFORT),
            *leak_figures(large, decode_manifest(large["metadata.json"]), EFFORT),
        ]
    size_kb = sum(map(len, large.values())) / 1e3
    return [*(judged(figure) for figure in figures), result("size of the bundle that is loaded", size_kb, "KB")]


def named(what: str, figures: list[Figure]) -> list[Figure]:
    return [Figure(name=f"{figure.name}, {what}", value=figure.value, unit=figure.unit, baseline=figure.baseline)
            for figure in figures]  # fmt: skip


def judged(figure: Figure) -> dict[str, Any]:
    target, passed = "", None
    if (most := RATIOS.get(figure.name.removesuffix(", with a normaliser"))) is not None and figure.baseline:
        target, passed = f"<= {most:g} x the baseline", figure.value <= most * figure.baseline
    elif (most := VALUES.get(figure.name)) is not None:
        target, passed = f"<= {most:g} {figure.unit}", figure.value <= most
    return result(figure.name, figure.value, figure.unit, baseline=figure.baseline, target=target, passed=passed)


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        results = run_async(measure(Path(home)))
    what, told = about("bundles"), circumstances()
    what["versions"] |= told["versions"]
    print(json.dumps({**what, "threads": told["threads"], "slo": told["slo"], "results": results}, indent=1))  # noqa: T201


main()
