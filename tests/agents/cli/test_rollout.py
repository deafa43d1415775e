"""Back to the bundle before, and shadows, as operators ask for them: on a real Kafka, with no Orchestrator."""

import asyncio
import secrets
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from agents.cli.main import app
from agents.settings import read_settings
from bundles.registry import read_files
from bundles.signing import SigningKey
from messages import TOPICS, Activate, NewRecord, connect, control_key, encode
from messages.control_fold import ControlFold
from tests.bundles.samples import export_sample

pytestmark = pytest.mark.kafka
BY = ("--who", "ann")
A, B = "a" * 64, "b" * 64


@pytest.fixture
def settings(tmp_path: Path, kafka_url: str) -> Path:
    """Settings over topics of their own, a registry and a trusted key."""
    prefix = f"rollout-{secrets.token_hex(4)}-"

    async def create() -> None:
        bus = connect(kafka_url, prefix=prefix)
        await bus.create_topics([TOPICS[name] for name in ("control", "status", "risk")], shards=1)
        await bus.stop()

    asyncio.run(create())
    key = SigningKey.generate()
    (tmp_path / "trust").mkdir()
    key.write(tmp_path / "trainer.key")
    (tmp_path / "trainer.pub").rename(tmp_path / "trust" / "trainer.pub")
    export_sample(tmp_path, key, run_name="run")
    path = tmp_path / "settings.yaml"
    instruments = [{"instrument": name, "price_step": 0.01, "quantity_step": 0.1} for name in ("AAA", "BBB")]
    values = {
        "bus": kafka_url,
        "prefix": prefix,
        "trust": str(tmp_path / "trust"),
        "registry": (tmp_path / "registry").as_uri(),
        "instruments": instruments,
        "strategies": {"momentum": ["AAA"], "carry": ["BBB"]},
    }
    path.write_bytes(msgspec.yaml.encode(values))
    return path


def run(settings: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments, "-s", str(settings)])
    return result.exit_code, result.output or str(result.exception)


def activated(settings: Path, *digests: str) -> None:
    values = read_settings(settings)

    async def write() -> None:
        bus = connect(values.bus, prefix=values.prefix)
        producer, fold = await bus.producer(), ControlFold()
        for digest in digests:
            message = Activate(
                strategy="momentum",
                instrument="AAA",
                bundle_id=f"bundle-{digest[:4]}",
                sha256=digest,
                expects=fold.last_offset("active/momentum/AAA"),
                ts=0,
                who="o",
            )
            offset = await producer.publish(
                "control", NewRecord(key=control_key(message).encode(), value=encode(message))
            )
            assert fold.apply(offset, message)
        await bus.stop()

    asyncio.run(write())


def test_one_command_goes_back_and_the_same_command_forth_again(settings: Path) -> None:
    code, said = run(settings, "rollout", "rollback", "momentum", *BY)
    assert code == 1
    assert "no other bundle has traded before" in said
    activated(settings, A, B)
    assert run(settings, "rollout", "rollback", "momentum", *BY, "--json") == (0, '{"AAA":"bundle-aaaa"}\n')
    assert "momentum AAA: bundle-aaaa" in run(settings, "status")[1]
    assert run(settings, "rollout", "rollback", "momentum", *BY, "--json") == (0, '{"AAA":"bundle-bbbb"}\n')


def test_a_shadow_is_stored_named_and_shown_until_it_is_ended(settings: Path, tmp_path: Path) -> None:
    code, said = run(settings, "shadow", "momentum", "AAA", str(tmp_path / "run"), *BY, "--json")
    assert code == 0, said
    bundle_id = msgspec.json.decode(said)["bundle_id"]
    assert msgspec.json.decode(run(settings, "status", "--json")[1])["shadowed"] == [f"momentum AAA: {bundle_id}"]
    (stored,) = (tmp_path / "registry").glob("*/metadata.json")
    assert read_files(stored.parent.as_uri()) == read_files(str(tmp_path / "run"))
    assert run(settings, "shadow", "momentum", "AAA", "--off", *BY)[0] == 0
    assert msgspec.json.decode(run(settings, "status", "--json")[1])["shadowed"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("momentum", "AAA"), "either a bundle or --off"),
        (("momentum", "BBB", "--off"), "momentum trades AAA"),
        (("carry", "BBB", "run"), "wrong-strategy"),
    ],
)
def test_a_shadow_that_makes_no_sense_writes_nothing(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run(settings, "shadow", *arguments, *BY)
    assert code == 1
    assert said in output
    assert msgspec.json.decode(run(settings, "status", "--json")[1])["shadowed"] == []
