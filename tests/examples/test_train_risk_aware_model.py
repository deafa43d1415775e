"""The example runs from made-up ticks to a signed bundle and its latency figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bundles import load_bundle

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "train_risk_aware_model.py"
QUICK = ("--timesteps", "400", "--ticks", "6000", "--trials", "50")


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)


@pytest.mark.timeout(240)
def test_it_trains_exports_signs_and_shows_prediction_and_latency(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("--out", out, *QUICK)
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(out / "models/risk-aware/risk-aware_torchscript", trust=out / "keys")
    assert bundle.manifest.algo == "dqn"
    assert bundle.manifest.features is not None
    assert bundle.bundle_id in done.stdout
    for shown in (r"worst drawdown while learning: [\d.e-]+", r"pnl_bps: -?[\d.]+", r"predict: action [012],"):
        assert re.search(shown, done.stdout), done.stdout
    assert re.search(r"latency: p50 [\d.]+ us, p99 [\d.]+ us, (within|over) 100 us", done.stdout), done.stdout

    again = run("--out", out, *QUICK)
    assert again.returncode == 2
    assert "--replace" in again.stderr
