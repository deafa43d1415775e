"""The example makes, serves and refuses a bundle on a feature of its own."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "own_feature.py"


def test_it_serves_its_own_feature_and_refuses_another() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "equal to the last bit: True" in done.stdout
    assert done.stdout.count("refused, unknown-features") == 2
    assert "'MODULE:FUNCTION'" in done.stdout
    assert "bring that source back" in done.stdout
