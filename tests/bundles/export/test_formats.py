import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import load_bundle
from bundles.errors import ExportFailed
from bundles.golden import decode_golden
from bundles.loader import stage
from bundles.manifest import (
    FP16_NAME,
    GOLDEN_NAME,
    INT8_NAME,
    MANIFEST_NAME,
    ONNX_NAME,
    POLICY_NAME,
    PROOF_NAME,
    PT2_NAME,
)
from bundles.registry import read_files
from bundles.runtimes.onnx import OnnxRuntime
from bundles.runtimes.torchscript import TorchScriptRuntime
from bundles.signing import SigningKey, TrustStore
from bundles.verifier import Verifier
from tests.bundles.samples import CREATED, export_sample, manifest_of

ALL = ("onnx", "pt2", "int8", "fp16")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    return export_sample(tmp_path_factory.mktemp("formats"), key, formats=ALL)


@pytest.fixture(scope="module")
def written(everything: Path) -> dict[str, bytes]:
    return read_files(str(everything))


def test_every_form_is_listed_and_so_signed(written: dict[str, bytes]) -> None:
    assert set(manifest_of(written).files) == {
        POLICY_NAME, GOLDEN_NAME, ONNX_NAME, INT8_NAME, FP16_NAME, PT2_NAME
    }  # fmt: skip


def test_the_proof_says_how_each_form_agrees(written: dict[str, bytes]) -> None:
    told = json.loads(written[PROOF_NAME])["formats"]
    assert set(told) == set(ALL)
    assert all(form["observations"] == 10_000 for form in told.values())
    assert told["pt2"]["agreement"] == 1.0
    assert told["onnx"]["agreement"] > 0.999
    assert 0.95 <= told["int8"]["agreement"] < 1.0


def test_the_same_module_gives_the_same_bytes(written: dict[str, bytes], key: SigningKey, tmp_path: Path) -> None:
    again = read_files(str(export_sample(tmp_path, key, formats=ALL)))
    assert {name: again[name] == content for name, content in written.items()} == dict.fromkeys(written, True)


@pytest.mark.parametrize("runtime", ["torchscript", "onnx", "mlp"])
def test_a_bundle_is_served_by_the_backend_that_is_asked_for(everything: Path, trust: TrustStore, runtime: Any) -> None:
    loaded = load_bundle(everything, trust=trust, runtime=runtime)
    golden = decode_golden(loaded.files[GOLDEN_NAME], (4,))
    assert type(loaded.runtime).__name__.lower() == f"{runtime}runtime"
    answers = [loaded.runtime.act(row) for row in golden.observations[:50]]
    assert answers == [(float(action),) for action in golden.actions[:50]]


def test_onnx_takes_batches_of_any_size_by_name(written: dict[str, bytes]) -> None:
    runtime = OnnxRuntime.load(written[ONNX_NAME], (4,))
    policy = TorchScriptRuntime.load(written[POLICY_NAME], (4,))
    for size in (1, 3, 7, 128):
        rows = np.random.default_rng(size).standard_normal((size, 4)).astype(np.float32)
        for found, expected in zip(runtime.forward(rows), policy.forward(rows), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_half_precision_is_half_precision_and_near(written: dict[str, bytes]) -> None:
    assert b"HalfStorage" in written[FP16_NAME]
    rows = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    _, found = TorchScriptRuntime.load(written[FP16_NAME], (4,)).forward(rows)
    _, expected = TorchScriptRuntime.load(written[POLICY_NAME], (4,)).forward(rows)
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert (found != expected).any()


@pytest.mark.filterwarnings("ignore")
def test_pt2_answers_as_the_policy_without_torchscript(written: dict[str, bytes]) -> None:
    import torch

    module = torch.export.load(io.BytesIO(written[PT2_NAME])).module()
    rows = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    with torch.no_grad():
        actions, outputs = module(torch.from_numpy(rows))
    expected = TorchScriptRuntime.load(written[POLICY_NAME], (4,)).forward(rows)
    assert actions.tolist() == expected[0].tolist()
    np.testing.assert_allclose(outputs.numpy(), expected[1], atol=1e-6)


def test_a_form_that_agrees_too_little_is_refused(key: SigningKey, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"policy\.int8\.onnx agrees with policy\.pt in 9.*at least 100\.00%"):
        export_sample(tmp_path, key, formats=("int8",), least_agreement=1.0)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(key: SigningKey, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"'tflite'.*onnx"):
        export_sample(tmp_path, key, formats=("tflite",))


def test_continuous_policies_with_a_normaliser_have_every_form(key: SigningKey, tmp_path: Path) -> None:
    import torch

    from bundles.actions import ActionMapping

    class Continuous(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(4, 1)
            self.register_buffer("mean", torch.full((4,), 0.1, dtype=torch.float64))

        def forward(self, obs: Any) -> Any:
            mean: Any = self.mean
            outputs = self.layer(((obs.to(torch.float64) - mean) / 0.7).clamp(-10.0, 10.0).to(torch.float32))
            return torch.tanh(outputs), outputs

    actions = ActionMapping(kind="continuous", max_position=1.0)
    directory = export_sample(tmp_path, key, module=Continuous().eval(), actions=actions, formats=ALL, created=CREATED)
    loaded = load_bundle(directory, trust=TrustStore.of([key]), runtime="onnx")
    expected = load_bundle(directory, trust=TrustStore.of([key])).runtime.act(np.ones(4, np.float32))
    assert loaded.runtime.act(np.ones(4, np.float32)) == pytest.approx(expected, abs=1e-6)


async def test_the_verifier_process_runs_the_backend_that_will_serve(everything: Path, trust: TrustStore) -> None:
    digest = hashlib.sha256((everything / MANIFEST_NAME).read_bytes()).hexdigest()
    async with Verifier(runtime="onnx") as verifier:
        loaded = await stage(str(everything), digest, trust=trust, verifier=verifier)
    assert isinstance(loaded.runtime, OnnxRuntime)
