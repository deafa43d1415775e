"""Execution's install needs no training library: a bundle is loaded and served with the base dependencies alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bundles import load_bundle
from bundles.signing import SigningKey, TrustStore

SERVER = Path(__file__).with_name("isolated_server.py")


@pytest.fixture
def trust_directory(key: SigningKey, tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    key.write(tmp_path / "keys" / "trainer.key")
    return tmp_path / "keys"


def test_a_bundle_is_served_with_the_base_dependencies_alone(
    bundle: Path, trust: TrustStore, trust_directory: Path
) -> None:
    import numpy as np

    done = subprocess.run(
        [sys.executable, "-P", str(SERVER), str(bundle), str(trust_directory)],
        capture_output=True, text=True, timeout=100, check=False, cwd=trust_directory,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    expected = load_bundle(bundle, trust=trust).runtime.act(np.ones(4, np.float32))
    assert (answer["predicted"], tuple(answer["acted"]), answer["trials"]) == (expected[0], expected, 20)
    # It must have been able to fail: these are installed here, and were not to be had there.
    assert {"stable_baselines3", "gymnasium", "matplotlib", "pytest", "onnx"} <= set(answer["refused"])
    assert answer["imported"] == []
