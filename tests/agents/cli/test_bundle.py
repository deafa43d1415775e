from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.bundle import app
from bundles.manifest import POLICY_NAME
from tests.bundles.samples import export_sample


def run(*arguments: object) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def run_json(*arguments: object) -> tuple[int, Any]:
    code, output = run(*arguments, "--json")
    return code, msgspec.json.decode(output)


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    return export_sample(tmp_path / "bundles", None)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    code, _ = run("keygen", tmp_path / "keys" / "trainer.key")
    assert code == 0
    return tmp_path / "keys"


def test_a_bundle_is_signed_then_verified(unsigned: Path, keys: Path) -> None:
    code, answer = run_json("verify", unsigned, "--trust", keys)
    assert (code, answer["accepted"], answer["code"]) == (1, False, "unsigned")
    code, signed = run_json("sign", unsigned, "--key", keys / "trainer.key")
    assert code == 0
    code, answer = run_json("verify", unsigned, "--trust", keys, "--strategy", "momentum")
    assert (code, answer["accepted"], answer["sha256"]) == (0, True, signed["sha256"])


def test_a_tampered_bundle_is_neither_verified_nor_signed(unsigned: Path, keys: Path) -> None:
    policy = bytearray((unsigned / POLICY_NAME).read_bytes())
    policy[200] ^= 1
    (unsigned / POLICY_NAME).write_bytes(policy)
    code, answer = run_json("sign", unsigned, "--key", keys / "trainer.key")
    assert (code, answer["code"]) == (1, "digest-mismatch")
    code, output = run("verify", unsigned, "--allow-unsigned")
    assert code == 1
    assert "publish the bundle again" in output


def test_inspect_shows_what_it_is(unsigned: Path) -> None:
    code, answer = run_json("inspect", unsigned)
    assert (code, answer["strategy"], answer["sequence"], answer["algo"]) == (0, "momentum", 7, "module")
    code, output = run("inspect", unsigned)
    assert code == 0
    assert "momentum" in output


def test_publish_stores_and_announces(unsigned: Path, tmp_path: Path) -> None:
    code, answer = run_json("publish", unsigned, "--registry", tmp_path / "store", "--bus", "memory://")
    if code == 1:  # a bus of its own has no topics: the store comes first
        assert "bundles" in answer["error"]
    digest = next(path.name for path in (tmp_path / "store").iterdir())
    code, answer = run_json("inspect", tmp_path / "store" / digest)
    assert (code, answer["sha256"]) == (0, digest)


def test_publish_refuses_what_is_not_trusted(unsigned: Path, keys: Path, tmp_path: Path) -> None:
    arguments = ("publish", unsigned, "--registry", tmp_path / "store", "--bus", "memory://", "--trust", keys)
    code, answer = run_json(*arguments)
    assert (code, answer["code"]) == (1, "unsigned")
    assert not (tmp_path / "store").exists()
