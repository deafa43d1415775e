"""A bundle is served by the backend that is asked for, and by no other."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles.errors import BundleRefused
from bundles.loader import load_bundle, stage
from bundles.manifest import POLICY_NAME
from bundles.registry import Registry
from bundles.runtimes.choice import RuntimeName
from bundles.runtimes.mlp import MlpRuntime
from bundles.runtimes.torchscript import TorchScriptRuntime
from bundles.signing import SigningKey, TrustStore
from bundles.verifier import Verifier
from messages import RejectCode
from tests.bundles.samples import OBS, export_sample, resigned, with_weights

ROOT = Path(__file__).resolve().parents[3]
KINDS: dict[RuntimeName, type[Any]] = {"torchscript": TorchScriptRuntime, "mlp": MlpRuntime}


@pytest.mark.parametrize("name", KINDS)
async def test_the_verifier_and_this_process_run_it_with_the_same_backend(
    name: RuntimeName, files: dict[str, bytes], key: SigningKey, trust: TrustStore, tmp_path: Path
) -> None:
    registry = Registry(f"file://{tmp_path}")
    uri = registry.put(files)
    async with Verifier(runtime=name) as verifier:
        loaded = await stage(uri, uri.rsplit("/", 1)[-1], trust=trust, verifier=verifier)
        assert type(loaded.runtime) is KINDS[name]
        nan = resigned(files, key, {POLICY_NAME: with_weights(files[POLICY_NAME], float("nan"))})
        with pytest.raises(BundleRefused) as caught:
            await verifier.check(nan)
        assert caught.value.code is RejectCode.NOT_FINITE
        other = resigned(files, key, {POLICY_NAME: with_weights(files[POLICY_NAME], 0.3)})
        with pytest.raises(BundleRefused) as caught:
            await verifier.check(other)
        assert caught.value.code is RejectCode.GOLDEN_MISMATCH


def test_both_backends_act_alike(bundle: Path, trust: TrustStore) -> None:
    torchscript, mlp = (load_bundle(bundle, trust=trust, runtime=name).runtime for name in KINDS)
    observations = np.random.default_rng(5).standard_normal((1_000, OBS)).astype(np.float32)
    assert torchscript.act_batch(observations) == mlp.act_batch(observations)


async def test_what_is_no_chain_of_layers_is_refused_where_mlp_is_asked_for(
    tmp_path: Path, key: SigningKey, trust: TrustStore
) -> None:
    import torch

    class Wide(torch.nn.Module):
        def forward(self, obs: Any) -> Any:
            outputs = torch.cat([obs, obs], dim=1)[:, :3].sigmoid()
            return outputs.argmax(dim=1), outputs

    directory = export_sample(tmp_path, key, module=Wide())
    assert load_bundle(directory, trust=trust)
    with pytest.raises(BundleRefused) as caught:
        load_bundle(directory, trust=trust, runtime="mlp")
    assert caught.value.code is RejectCode.LOAD_FAILED


def test_mlp_serves_without_torch(bundle: Path) -> None:
    code = (
        "import sys; import numpy as np; from bundles.loader import load_bundle;"
        "from bundles.signing import TrustStore;"
        f"policy = load_bundle({str(bundle)!r}, allow_unsigned=True, runtime='mlp');"
        f"print(policy.runtime.act(np.zeros({OBS}, np.float32)), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(") False\n")
