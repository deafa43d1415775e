"""The real thing: a virtual environment with the base dependencies alone, in which a bundle is loaded and served."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundles import load_bundle
from bundles.signing import SigningKey, TrustStore
from tests.bundles import clean_server

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("messages", "bundles", "agents", "pyproject.toml", "README.md", "LICENSE")
SERVED = 1_000
INSTALL_S = 1_500

pytestmark = [pytest.mark.drill, pytest.mark.timeout(INSTALL_S + 300)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of a fresh virtual environment in which `pip install .` has run, without extras; gone afterwards."""
    home = tmp_path_factory.mktemp("clean")
    sources = home / "sources"
    for name in SOURCES:
        _copy(ROOT / name, sources / name)
    try:
        _run(sys.executable, "-m", "venv", str(home / "venv"))
        programs = home / "venv" / "bin"
        constrained = (str(programs / "python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"))
        first = subprocess.run([*constrained, "msgspec"], capture_output=True, text=True, timeout=300, check=False)
        if first.returncode != 0:
            pytest.skip(f"pip finds no packages here: {first.stderr.strip().splitlines()[-1]}")
        _run(*constrained, str(sources), timeout_s=INSTALL_S)
        yield programs
    finally:
        shutil.rmtree(home)


def test_a_clean_base_install_loads_a_bundle_and_serves_it(
    environment: Path, bundle: Path, trust: TrustStore, key: SigningKey, tmp_path: Path
) -> None:
    (tmp_path / "keys").mkdir()
    key.write(tmp_path / "keys" / "trainer.key")
    script = tmp_path / "server.py"
    shutil.copy(clean_server.__file__, script)
    answer = json.loads(
        _run(environment / "python", "-I", script, bundle, tmp_path / "keys", str(SERVED), cwd=tmp_path, timeout_s=120)
    )
    assert Path(answer["package"]).is_relative_to(environment.parent)  # the installed one, not this checkout's
    assert answer["installed"] == []
    assert answer["actions"] == _actions_here(bundle, trust)


def test_a_clean_base_install_can_check_the_settings_of_execution(environment: Path, tmp_path: Path) -> None:
    command = (environment / "tickpilot", "run", "execution", "--check", "--json")
    shown = json.loads(_run(*command, cwd=tmp_path, timeout_s=60))
    assert "execution" in shown


def _actions_here(bundle: Path, trust: TrustStore) -> list[int]:
    import numpy as np

    loaded = load_bundle(bundle, trust=trust)
    shape = (SERVED, *loaded.manifest.obs_shape)
    observations = np.random.default_rng(clean_server.OBSERVATIONS_SEED).normal(size=shape).astype(np.float32)
    return [int(loaded.runtime.act(observation)[0]) for observation in observations]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _run(*command: str | Path, cwd: Path | None = None, timeout_s: float = 120) -> str:
    """Run with this project's own paths and settings out of the environment; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TICKPILOT_"))}
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True, text=True, timeout=timeout_s, check=False, cwd=cwd, env=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
