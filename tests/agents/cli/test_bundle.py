import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.bundle import app
from bundles.manifest import POLICY_NAME
from messages import TOPICS, BundleReady, Bus, connect, decode
from messages.bus.reading import read_all
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


def test_a_second_key_signs_beside_the_first_unless_it_shall_replace_it(unsigned: Path, keys: Path) -> None:
    ids = [run_json("keygen", keys.parent / f"{name}.key")[1]["key_id"] for name in ("one", "two")]
    for name in ("one", "two", "one"):
        code, signed = run_json("sign", unsigned, "--key", keys.parent / f"{name}.key")
        assert code == 0
    assert signed["signers"] == [ids[1], ids[0]]
    (keys / "trainer.pub").unlink()
    (keys / "one.pub").write_bytes((keys.parent / "one.pub").read_bytes())
    assert run_json("verify", unsigned, "--trust", keys)[0] == 0
    (keys / "revoked").write_text(ids[0])
    code, answer = run_json("verify", unsigned, "--trust", keys)
    assert (code, answer["code"]) == (1, "revoked-key")
    code, signed = run_json("sign", unsigned, "--key", keys.parent / "two.key", "--replace")
    assert (code, signed["signers"]) == (0, ids[1:])


def test_no_command_shows_a_private_key(unsigned: Path, keys: Path) -> None:
    private = keys / "trainer.key"
    shown = [run("sign", unsigned, "--key", private, *options)[1] for options in ((), ("--json",))]
    shown += [run("keygen", private, *options)[1] for options in ((), ("--json",))]
    shown += [run("keygen", keys / f"{name}.key", *options)[1] for name, options in (("a", ()), ("b", ("--json",)))]
    bodies = [path.read_text().splitlines()[1] for path in (private, keys / "a.key", keys / "b.key")]
    assert [body for body in bodies for text in shown if body in text] == []


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


def settings_file(directory: Path, **values: object) -> Path:
    path = directory / "settings.yaml"
    path.write_bytes(msgspec.yaml.encode({"registry": f"file://{directory / 'store'}", **values}))
    return path


async def create_bundles_topic(url: str, prefix: str) -> None:
    async with closing(connect(url, prefix=prefix)) as bus:
        await bus.create_topics([TOPICS["bundles"]], shards=1)


async def announced(url: str, prefix: str) -> list[object]:
    async with closing(connect(url, prefix=prefix)) as bus:
        records, _ = await read_all(bus, ["bundles"])
        return [decode("bundles", record.value) for record in records]


@asynccontextmanager
async def closing(bus: Bus) -> AsyncIterator[Bus]:
    try:
        yield bus
    finally:
        await bus.stop()


@pytest.mark.kafka
def test_publish_stores_and_announces_with_nothing_but_the_settings(
    unsigned: Path, keys: Path, tmp_path: Path, kafka_url: str
) -> None:
    prefix = f"publish-{secrets.token_hex(4)}-"
    asyncio.run(create_bundles_topic(kafka_url, prefix))
    settings = settings_file(tmp_path, bus=kafka_url, prefix=prefix, trust=str(keys))
    assert run_json("sign", unsigned, "--key", keys / "trainer.key")[0] == 0
    code, answer = run_json("publish", unsigned, "-s", settings)
    assert (code, answer["offset"]) == (0, 0)
    (ready,) = asyncio.run(announced(kafka_url, prefix))
    assert isinstance(ready, BundleReady)
    code, stored = run_json("inspect", ready.uri)
    assert (code, stored["sha256"], stored["bundle_id"]) == (0, ready.sha256, ready.bundle_id)


def test_publish_refuses_what_the_agents_would_refuse(unsigned: Path, keys: Path, tmp_path: Path) -> None:
    code, answer = run_json("publish", unsigned, "-s", settings_file(tmp_path, trust=str(keys)))
    assert (code, answer["code"]) == (1, "unsigned")
    code, answer = run_json("publish", unsigned, "-s", settings_file(tmp_path))
    assert code == 1
    assert "trust" in answer["error"]
    assert not (tmp_path / "store").exists()
