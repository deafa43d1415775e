import asyncio
import secrets
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.bundle import app
from bundles.manifest import SIGNATURE_NAME
from bundles.registry import Registry
from bundles.signing import SigningKey
from messages import TOPICS, Activate, LogStarted, NewRecord, connect, control_key, encode
from tests.bundles.samples import export_sample, sample_files


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def run_json(*arguments: object) -> Any:
    code, output = run(*arguments, "--json")
    assert code == 0, output
    return msgspec.json.decode(output)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def store(tmp_path: Path, key: SigningKey) -> str:
    uri = (tmp_path / "store").as_uri()
    for sequence in (1, 2, 3):
        Registry(uri).put(sample_files(tmp_path / str(sequence), key, sequence=sequence))
    return uri


def test_list_pin_prune_unpin(store: str, key: SigningKey) -> None:
    listed = run_json("list", "--registry", store)
    assert [entry["sequence"] for entry in listed] == [1, 2, 3]
    assert listed[0]["signers"] == [{"key_id": key.key_id, "standing": "claimed"}]
    assert [entry["sequence"] for entry in run_json("history", "momentum", "--registry", store)] == [1, 2, 3]
    first = listed[0]["digest"]
    pinned = run_json("pin", first[:10], "--who", "ann", "--reason", "baseline", "--registry", store)
    assert (pinned["digest"], pinned["who"], pinned["why"]) == (first, "ann", "baseline")
    limits = ("--keep", "1", "--younger-than-days", "0", "--registry", store)
    planned = run_json("prune", *limits)
    assert (planned["dry_run"], planned["control_read"]) == (True, False)
    assert [entry["sequence"] for entry in planned["remove"]] == [2]
    assert len(Registry(store).digests()) == 3
    assert not run_json("prune", *limits, "--remove")["dry_run"]
    assert [entry["sequence"] for entry in run_json("list", "--registry", store)] == [1, 3]
    assert run_json("unpin", first, "--registry", store)["was_pinned"]
    code, output = run("list", "--registry", store)
    assert (code, len(output.splitlines())) == (0, 2)


def test_prune_removes_nothing_when_control_cannot_be_read(store: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_bytes(
        msgspec.yaml.encode({"bus": "kafka://127.0.0.1:1", "registry": store, "kafka": {"start_s": 1.0}})
    )
    limits = ("--keep", "1", "--younger-than-days", "0", "--remove", "-s", settings)
    code, output = run("prune", *limits)
    assert code == 1
    assert "not known" in output
    assert len(Registry(store).digests()) == 3


@pytest.mark.kafka
def test_what_control_speaks_of_is_never_pruned(tmp_path: Path, kafka_url: str, store: str, key: SigningKey) -> None:
    """Sequence 1 traded before 2, which trades; 3 is neither, 4 is the newest."""
    Registry(store).put(sample_files(tmp_path / "4", key, sequence=4))
    digests = {entry["sequence"]: entry["digest"] for entry in run_json("list", "--registry", store)}
    prefix = f"prune-{secrets.token_hex(4)}-"
    settings = tmp_path / "settings.yaml"
    settings.write_bytes(msgspec.yaml.encode({"bus": kafka_url, "prefix": prefix, "registry": store}))
    records = [
        LogStarted(log_id="a"),
        activate(digests[1], expects=-1),
        activate(digests[2], expects=1),
        activate(digests[3], expects=7),  # void: its author had not seen the last one
    ]
    asyncio.run(write_control(kafka_url, prefix, records))
    limits = ("--keep", "1", "--younger-than-days", "0", "-s", settings)
    planned = run_json("prune", *limits)
    assert (planned["dry_run"], planned["control_read"]) == (True, True)
    assert [entry["sequence"] for entry in planned["remove"]] == [3]
    run_json("prune", *limits, "--remove")
    assert Registry(store).digests() == sorted(digests[sequence] for sequence in (1, 2, 4))


def activate(digest: str, *, expects: int) -> Activate:
    return Activate(
        strategy="momentum", instrument="AAA", bundle_id="b" * 32, sha256=digest, expects=expects, who="test", ts=1
    )


async def write_control(url: str, prefix: str, messages: list[Any]) -> None:
    bus = connect(url, prefix=prefix)
    try:
        await bus.create_topics([TOPICS["control"]], shards=1)
        producer = await bus.producer()
        for message in messages:
            await producer.publish("control", NewRecord(key=control_key(message).encode(), value=encode(message)))
    finally:
        await bus.stop()


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "/nowhere/at/all"),
        ("sign", "/nowhere/at/all", "--key", "/nowhere.key"),
        ("publish", "/nowhere/at/all"),
        ("verify", "/dev/null"),
        ("list", "--registry", "/dev/null"),
        ("list", "--registry", "ftp://x"),
        ("unpin", "abc", "--registry", "/nowhere/at/all"),
        ("inspect", "/nowhere", "--trust", "/nowhere"),
        ("list", "-s", "/nowhere.yaml"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_1(arguments: tuple[str, ...]) -> None:
    code, output = run(*arguments)
    assert code == 1
    assert len(output.splitlines()) == 1


def test_an_expired_bundle_is_not_published(tmp_path: Path, key: SigningKey) -> None:
    (tmp_path / "keys").mkdir()
    key.write(tmp_path / "keys" / "a.key")
    bundle = export_sample(tmp_path / "bundles", key, expires=1_700_000_000_000_000_001)
    settings = tmp_path / "settings.yaml"
    settings.write_bytes(
        msgspec.yaml.encode({"registry": f"file://{tmp_path / 'store'}", "trust": str(tmp_path / "keys")})
    )
    code, output = run("publish", bundle, "-s", settings)
    assert (code, "expired" in output) == (1, True)
    assert not (tmp_path / "store").exists()


def test_inspect_says_who_signed_and_lists_files(tmp_path: Path, key: SigningKey) -> None:
    (tmp_path / "keys").mkdir()
    key.write(tmp_path / "keys" / "a.key")
    bundle = export_sample(tmp_path / "bundles", key)
    answer = run_json("inspect", bundle, "--trust", tmp_path / "keys", "--files")
    assert answer["signed_by"] == [{"key_id": key.key_id, "standing": "trusted"}]
    assert answer["all_files"][SIGNATURE_NAME]["size"] == (bundle / SIGNATURE_NAME).stat().st_size
    (tmp_path / "keys" / "revoked").write_text(key.key_id)
    answer = run_json("inspect", bundle, "--trust", tmp_path / "keys")
    assert answer["signed_by"][0]["standing"] == "revoked-key"
