from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import TorchScriptPolicy, export_policy, load_bundle
from bundles.errors import BundleRefused, ExportFailed, PolicyError
from bundles.export import export_module
from bundles.features import Feature, FeatureSpec
from bundles.manifest import SIGNATURE_NAME, Space
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from messages import RejectCode
from tests.bundles.models import CONTINUOUS, DISCRETE, facts, trained
from tests.bundles.samples import LEVELS, OBS, export_sample, resigned, tiny_module, write_all


def test_images_go_through_the_convolution(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    import torch

    class Conv(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = [torch.nn.Conv2d(1, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36, 3)]
            self.network = torch.nn.Sequential(*layers, torch.nn.Dropout(0.5), torch.nn.LayerNorm(3))

        def forward(self, obs: Any) -> Any:
            outputs = self.network(obs)
            return outputs.argmax(dim=1), outputs

    path = export_module(Conv(), out_dir=tmp_path, obs_shape=(1, 8, 8), **facts(key, LEVELS))
    assert load_bundle(path, trust=trust).runtime.obs_shape == (1, 8, 8)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, key: SigningKey) -> None:
    first, second = (export_sample(tmp_path / name, key) for name in ("a", "b"))
    assert read_files(str(first)) == read_files(str(second))


def test_real_observations_make_the_statistics(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    observations = np.random.default_rng(0).normal(5.0, 2.0, (500, OBS)).astype(np.float32)
    path = export_sample(tmp_path, key, observations=observations, training={"seed": 3}, limits={"max_position": 2.0})
    manifest = load_bundle(path, trust=trust).manifest
    assert np.allclose(manifest.statistics["features"]["mean"], observations.mean(axis=0), atol=1e-3)
    assert manifest.training["seed"] == 3
    assert manifest.limits == {"max_position": 2.0}


def test_without_a_key_there_is_no_signature(tmp_path: Path) -> None:
    assert not (export_sample(tmp_path, None) / SIGNATURE_NAME).exists()


def test_a_bundle_is_never_overwritten(tmp_path: Path, key: SigningKey) -> None:
    export_sample(tmp_path, key)
    with pytest.raises(ExportFailed, match="there already"):
        export_sample(tmp_path, key)


def test_features_must_fit_the_observations(tmp_path: Path, key: SigningKey) -> None:
    with pytest.raises(BundleRefused) as caught:
        export_sample(tmp_path, key, features=FeatureSpec(features=(Feature(name="spread"),)))
    assert caught.value.code is RejectCode.WRONG_SHAPE
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_numbers_are_not_exported(tmp_path: Path, key: SigningKey) -> None:
    with pytest.raises(ExportFailed, match="NaN"):
        export_sample(tmp_path, key, module=tiny_module(weight=float("nan")))


def test_a_model_that_acts_otherwise_than_its_graph_is_not_exported(tmp_path: Path, key: SigningKey) -> None:
    model, _ = trained("DQN", DISCRETE)
    answer = model.predict

    def other(observations: Any, **_: Any) -> Any:
        actions, state = answer(observations, deterministic=True)
        actions[0] = (actions[0] + 1) % 3
        return actions, state

    model.predict = other
    with pytest.raises(ExportFailed, match="actions differ"):
        export_policy(model, out_dir=tmp_path, **facts(key, LEVELS))


def test_a_module_that_branches_on_values_is_not_exported(tmp_path: Path, key: SigningKey) -> None:
    import torch

    class Branching(torch.nn.Module):
        def forward(self, obs: Any) -> Any:
            return (obs.argmax(dim=1), obs) if obs.sum() > 0 else (obs.argmin(dim=1), obs)

    with pytest.raises(ExportFailed, match="traced"):
        export_sample(tmp_path, key, module=Branching())


def test_a_random_module_is_not_exported(tmp_path: Path, key: SigningKey) -> None:
    import torch

    class Random(torch.nn.Module):
        def forward(self, obs: Any) -> Any:
            outputs = obs + torch.randn_like(obs)
            return outputs.argmax(dim=1), outputs

    with pytest.raises(ExportFailed):
        export_sample(tmp_path, key, module=Random())


def test_a_hybrid_action_is_an_index_and_numbers_within_their_bounds(
    tmp_path: Path, key: SigningKey, trust: TrustStore
) -> None:
    import torch

    class Hybrid(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body, self.side, self.size = torch.nn.Linear(OBS, 8), torch.nn.Linear(8, 3), torch.nn.Linear(8, 2)

        def forward(self, obs: Any) -> Any:
            hidden = self.body(obs).relu()
            outputs, sizes = self.side(hidden), self.size(hidden) * 10.0
            return torch.cat([outputs.argmax(dim=1, keepdim=True).to(torch.float32), sizes], dim=1), outputs

    space = Space(kind="hybrid", shape=(3,), n=(3,), low=(0.0, -1.0, 0.0), high=(2.0, 1.0, 0.5))
    known: Any = {**facts(key, CONTINUOUS), "actions": None}
    path = export_module(Hybrid(), out_dir=tmp_path, obs_shape=(OBS,), action_space=space, **known)
    policy = TorchScriptPolicy.load_bundle(path, trust)
    actions, _ = policy.predict(np.random.default_rng(0).standard_normal((500, OBS)).astype(np.float32) * 5)
    assert set(actions[:, 0].tolist()) <= {0.0, 1.0, 2.0}
    assert actions[:, 1].min() == -1.0
    assert actions[:, 1].max() == 1.0
    assert (actions[:, 2].min(), actions[:, 2].max()) == (0.0, 0.5)


def test_a_module_of_several_inputs_takes_them_by_name(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    import torch

    class Two(torch.nn.Module):
        def forward(self, book: Any, account: Any) -> Any:
            outputs = book.mean(dim=1) - account
            return outputs.argmax(dim=1), outputs

    shapes = {"book": (4, 3), "account": (3,)}
    path = export_module(Two(), out_dir=tmp_path, obs_shape=shapes, **facts(key, LEVELS))
    policy = TorchScriptPolicy.load_bundle(path, trust)
    book, account = np.ones((4, 3), np.float32), np.array([1.0, 0.0, 2.0], np.float32)
    action, info = policy.predict({"account": account, "book": book})
    assert action == 1
    assert info["outputs"].tolist() == [0.0, 1.0, -1.0]


@pytest.mark.parametrize(
    ("observation", "code"),
    [
        ([0.0, 1.0, float("nan"), 0.0], RejectCode.NOT_FINITE),
        ([0.0, 1.0, 1e300, 0.0], RejectCode.NOT_FINITE),
        ([0.0, 1.0], RejectCode.WRONG_SHAPE),
        (["a", "b", "c", "d"], RejectCode.WRONG_SHAPE),
        ([[0.0], [0.0, 1.0]], RejectCode.WRONG_SHAPE),
        ([0j, 0j, 0j, 0j], RejectCode.WRONG_SHAPE),
    ],
)
def test_predict_refuses_what_is_no_observation(
    bundle: Path, trust: TrustStore, observation: Any, code: RejectCode
) -> None:
    with pytest.raises(PolicyError) as caught:
        TorchScriptPolicy.load_bundle(bundle, trust).predict(observation)
    assert caught.value.code is code


def test_predict_refuses_an_action_beyond_its_space(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    import torch

    class Far(torch.nn.Module):
        """Within its bounds wherever the proof looks."""

        def forward(self, obs: Any) -> Any:
            outputs = (obs[:, :1] > 1e30).to(torch.float32) * 5.0
            return outputs, outputs

    path = export_module(Far(), out_dir=tmp_path, obs_shape=(OBS,), **facts(key, CONTINUOUS))
    files = read_files(str(path))
    space = Space(kind="box", shape=(1,), low=(-1.0,), high=(1.0,))
    policy = TorchScriptPolicy.load_bundle(write_all(tmp_path / "b", resigned(files, key, action_space=space)), trust)
    assert policy.predict([1.0, 0.0, 0.0, 0.0])[0] == 0.0
    with pytest.raises(PolicyError, match="beyond action space"):
        policy.predict([1e31, 0.0, 0.0, 0.0])
