import json
from pathlib import Path

from typer.testing import CliRunner

from agents.cli.main import app
from bundles.signing import SigningKey
from tests.bundles.samples import export_sample


def test_bench_prints_every_figure_and_judges_the_slo(tmp_path: Path) -> None:
    directory = export_sample(tmp_path, SigningKey.generate())
    told = CliRunner().invoke(app, ["bundle", "bench", str(directory), "--quick", "--json"])
    assert told.stdout, told.exception
    answer = json.loads(told.stdout)
    slo, figures = answer["slo"], {row["name"]: row for row in answer["results"]}
    assert (slo["limit_us"], slo["value_us"]) == (100.0, figures[slo["figure"]]["value"])
    assert slo["pass"] is (slo["value_us"] <= 100.0)
    assert told.exit_code == (0 if slo["pass"] else 1)
    act = figures["act, torchscript, hot, p50"]
    assert act["ratio"] == act["value"] / figures["the bare call, hot, p50"]["value"]
    assert {"call 1 after loading", "call 6 after loading", "verify, load and warm"} <= set(figures)
    assert {"scan and golden answers in the verifier process", "paced at 100/s, cold, torchscript, p99"} <= set(figures)
    assert answer["threads"] == 1
    assert answer["versions"]["torch"]


def test_an_untrusted_bundle_is_not_measured(tmp_path: Path) -> None:
    directory = export_sample(tmp_path, SigningKey.generate())
    trust = tmp_path / "trust"
    trust.mkdir()
    SigningKey.generate().write(trust / "other.key")
    told = CliRunner().invoke(app, ["bundle", "bench", str(directory), "--trust", str(trust), "--quick"])
    assert told.exit_code == 1
    assert "act" not in told.stdout
