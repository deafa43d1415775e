"""A local broker touches no process but its own, keeps its data, and says what is missing."""

import subprocess
from pathlib import Path

import pytest

from agents.lifecycle import local_kafka
from messages import NewRecord
from messages.bus.kafka.bus import KafkaBus
from tests.brokers import own_broker
from tests.clusters import create


def test_a_pid_file_that_names_a_stranger_kills_nobody(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "pid").write_text(str(stranger.pid))
        assert not local_kafka.stop(tmp_path)
        assert stranger.poll() is None
        stranger.kill()


def test_stopping_where_nothing_runs_is_quiet(tmp_path: Path) -> None:
    assert not local_kafka.stop(tmp_path)


def test_without_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(local_kafka.LocalKafkaUnavailable, match=r"'java'.*install JDK 17"):
        local_kafka.start(local_kafka.new_broker(tmp_path))


def test_an_unknown_command_prints_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert local_kafka.main(["restart"]) == 2
    assert "start|stop" in capsys.readouterr().err


@pytest.mark.kafka
async def test_a_broker_that_is_started_again_has_its_records(kafka_url: str) -> None:
    with own_broker() as broker:
        for offset in range(2):
            local_kafka.start(broker)
            local_kafka.start(broker)
            bus = KafkaBus(broker.url)
            await create(bus, "control")
            producer = await bus.producer()
            assert await producer.publish("control", NewRecord(value=b"1")) == offset
            await bus.stop()
            assert local_kafka.stop(broker.directory)


def test_settings_come_after_the_files_own_and_a_lone_broker_votes_for_itself(tmp_path: Path) -> None:
    broker = local_kafka.LocalBroker(directory=tmp_path, port=1, controller_port=2, settings={"num.io.threads": "2"})
    lines = local_kafka._write_properties(broker).read_text().splitlines()
    assert {"node.id=1", "controller.quorum.voters=1@127.0.0.1:2"} <= set(lines)
    assert lines[-1] == "num.io.threads=2"
    assert not any("$" in line for line in lines)
