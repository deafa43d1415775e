import hashlib
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.execution.staging import serving
from bundles import TorchScriptPolicy, export_policy, load_bundle
from bundles.actions import ActionMapping
from bundles.errors import BundleRefused, ExportFailed
from bundles.export import export_module
from bundles.features import Feature, FeatureSpec
from bundles.manifest import PROOF_NAME, SIGNATURE_NAME, Space
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from messages import RejectCode
from tests.bundles.samples import CREATED, LEVELS, OBS, export_sample, tiny_module

CONTINUOUS = ActionMapping(kind="continuous", max_position=1.0)


class Walk(gymnasium.Env[Any, Any]):
    """Observations on very different scales, so that a missing normaliser shows."""

    def __init__(self, action_space: gymnasium.Space[Any], shape: tuple[int, ...] = (OBS,)) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.action_space = action_space
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._observe(), float(np.sum(action)), False, self._steps >= 20, {}

    def _observe(self) -> Any:
        scales = np.array([1e-3, 1.0, 50.0, 1e4]) if self.observation_space.shape == (OBS,) else 1.0
        return (self.np_random.standard_normal(self.observation_space.shape) * scales).astype(np.float32)


DISCRETE = gymnasium.spaces.Discrete(3)
BOX = gymnasium.spaces.Box(-2.0, 1.0, (1,), np.float32)
SIZES: dict[str, dict[str, Any]] = {
    "DQN": {"learning_starts": 10, "buffer_size": 1000},
    "PPO": {"n_steps": 32, "batch_size": 16, "n_epochs": 1},
    "A2C": {"n_steps": 8},
    "SAC": {"learning_starts": 10, "buffer_size": 1000},
    "TD3": {"learning_starts": 10, "buffer_size": 1000},
}


def trained(algorithm: str, action_space: gymnasium.Space[Any], **options: Any) -> tuple[Any, VecNormalize]:
    environment = DummyVecEnv([lambda: Walk(action_space)])
    normalised = VecNormalize(environment, norm_obs=True)
    kind = getattr(stable_baselines3, algorithm)
    options = {"policy_kwargs": {"net_arch": [16]}, **SIZES[algorithm], **options}
    model = kind("MlpPolicy", normalised, seed=1, device="cpu", **options)
    model.learn(64)
    return model, normalised


def facts(key: SigningKey, actions: ActionMapping, **changes: Any) -> Any:
    return {
        "strategy": "momentum",
        "instruments": ("AAA",),
        "features": None,
        "actions": actions,
        "sequence": 1,
        "created": CREATED,
        "run_name": "run",
        "key": key,
        **changes,
    }


@pytest.mark.parametrize(
    ("algorithm", "action_space", "options"),
    [
        ("DQN", DISCRETE, {}),
        ("PPO", DISCRETE, {}),
        ("A2C", DISCRETE, {}),
        ("PPO", BOX, {}),
        ("PPO", BOX, {"use_sde": True, "policy_kwargs": {"net_arch": [16], "squash_output": True}}),
        ("A2C", BOX, {}),
        ("SAC", BOX, {}),
        ("TD3", BOX, {}),
    ],
    ids=["dqn", "ppo", "a2c", "ppo-box", "ppo-sde", "a2c-box", "sac", "td3"],
)
def test_the_bundle_acts_as_the_trained_model(
    tmp_path: Path,
    key: SigningKey,
    trust: TrustStore,
    algorithm: str,
    action_space: gymnasium.Space[Any],
    options: dict[str, Any],
) -> None:
    model, normalised = trained(algorithm, action_space, **options)
    actions = LEVELS if action_space is DISCRETE else CONTINUOUS
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised, **facts(key, actions))
    proof = msgspec.json.decode((path / PROOF_NAME).read_bytes())
    assert proof["equal_actions"] == proof["observations"] == 10_000
    assert proof["equal_bits"] == (None if action_space is DISCRETE else 10_000)
    runtime = load_bundle(path, trust=trust).runtime
    observations = np.random.default_rng(3).standard_normal((200, OBS)) * [1e-3, 1.0, 50.0, 1e4]
    for observation in observations.astype(np.float32):
        wanted, _ = model.predict(normalised.normalize_obs(observation), deterministic=True)
        assert np.allclose(runtime.act(observation), np.asarray(wanted).reshape(-1), atol=1e-5)


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


def test_the_same_trained_model_gives_the_same_bytes(tmp_path: Path, key: SigningKey) -> None:
    model, normalised = trained("DQN", DISCRETE)
    digests = set()
    for name in ("a", "b"):
        path = export_policy(model, out_dir=tmp_path / name, vec_normalize=normalised, **facts(key, LEVELS))
        digests.add(hashlib.sha256(b"".join(read_files(str(path)).values())).hexdigest())
    assert len(digests) == 1


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


WIDE = gymnasium.spaces.Box(np.array([-2, 0, -1e3], np.float32), np.array([1, 1e-3, 1e3], np.float32), dtype=np.float32)
MANY = {
    "ppo-multi-discrete": ("PPO", gymnasium.spaces.MultiDiscrete([2, 3, 4]), {}),
    "a2c-multi-discrete": ("A2C", gymnasium.spaces.MultiDiscrete([5, 2]), {}),
    "ppo-multi-binary": ("PPO", gymnasium.spaces.MultiBinary(3), {}),
    "a2c-multi-binary": ("A2C", gymnasium.spaces.MultiBinary(2), {}),
    "ppo-wide": ("PPO", WIDE, {}),
    "a2c-sde": ("A2C", WIDE, {"use_sde": True}),
    "sac-wide": ("SAC", WIDE, {}),
    "sac-sde": ("SAC", WIDE, {"use_sde": True}),
    "td3-wide": ("TD3", WIDE, {}),
}


RAW = {"ppo-multi-discrete", "a2c-multi-binary", "sac-wide", "td3-wide"}
CASES = [(name, True) for name in MANY] + [(name, False) for name in sorted(RAW)]


@pytest.mark.parametrize(("name", "is_normalised"), CASES)
def test_actions_of_several_parts_are_the_models(
    tmp_path: Path,
    key: SigningKey,
    trust: TrustStore,
    name: str,
    is_normalised: bool,
) -> None:
    algorithm, action_space, options = MANY[name]
    model, normalised = trained(algorithm, action_space, **options)
    known: Any = {**facts(key, CONTINUOUS), "actions": None}
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised if is_normalised else None, **known)
    proof = msgspec.json.decode((path / PROOF_NAME).read_bytes())
    assert proof["equal_actions"] == proof["observations"] == 10_000
    assert proof["equal_bits"] in {None, 10_000}
    policy = TorchScriptPolicy.load_bundle(path, trust)
    observation = np.array([1e-3, -1.0, 20.0, 3e3], np.float32)
    wanted, _ = model.predict(normalised.normalize_obs(observation) if is_normalised else observation)
    found, _ = policy.predict(observation)
    if proof["equal_bits"] is None:
        assert (
            found.tolist()
            == model.predict(
                normalised.normalize_obs(observation) if is_normalised else observation, deterministic=True
            )[0].tolist()
        )
    assert found.shape == wanted.shape
    with pytest.raises(BundleRefused, match="mean no position"):
        serving(policy.bundle)


class Pictures(Walk):
    """Bytes, as from a camera."""

    def __init__(self, action_space: gymnasium.Space[Any]) -> None:
        super().__init__(action_space)
        self.observation_space = gymnasium.spaces.Box(0, 255, (1, 36, 36), np.uint8)

    def _observe(self) -> Any:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)


@pytest.mark.parametrize(("algorithm", "action_space"), [("DQN", DISCRETE), ("PPO", DISCRETE)])
def test_a_policy_of_images_is_the_models(
    tmp_path: Path, key: SigningKey, trust: TrustStore, algorithm: str, action_space: gymnasium.Space[Any]
) -> None:
    environment = DummyVecEnv([lambda: Pictures(action_space)])
    options: dict[str, Any] = {"policy_kwargs": {"features_extractor_kwargs": {"features_dim": 8}}, **SIZES[algorithm]}
    model = getattr(stable_baselines3, algorithm)("CnnPolicy", environment, seed=1, device="cpu", **options)
    path = export_policy(model, out_dir=tmp_path, **{**facts(key, CONTINUOUS), "actions": None})
    proof = msgspec.json.decode((path / PROOF_NAME).read_bytes())
    assert proof["equal_actions"] == 10_000
    assert load_bundle(path, trust=trust).manifest.obs_space.dtype == "uint8"


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


def test_a_policy_in_doubt_keeps_the_position(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    model, normalised = trained("DQN", DISCRETE)
    known = facts(key, LEVELS, min_confidence=0.05)
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised, **known)
    policy = TorchScriptPolicy.load_bundle(path, trust)
    assert policy.manifest.actions == msgspec.structs.replace(LEVELS, levels=(*LEVELS.levels, None))
    rows = (np.random.default_rng(0).standard_normal((2_000, OBS)) * [1e-3, 1.0, 50.0, 1e4]).astype(np.float32)
    actions, info = policy.predict(rows)
    shares = np.exp(info["outputs"]) / np.exp(info["outputs"]).sum(axis=1, keepdims=True)
    best = np.sort(shares, axis=1)
    is_sure = best[:, -1] - best[:, -2] >= 0.05
    wanted, _ = model.predict(normalised.normalize_obs(rows), deterministic=True)
    assert 0 < is_sure.sum() < len(rows)
    assert (actions == np.where(is_sure, wanted, 3)).all()
    assert LEVELS.levels == (-1.0, 0.0, 1.0)
    mapping = policy.manifest.actions
    assert mapping is not None
    assert mapping.to_target_lots((3.0,), quantity_step=0.1, current_lots=7) == 7


def test_a_space_that_has_no_form_is_refused(tmp_path: Path, key: SigningKey) -> None:
    model, _ = trained("PPO", gymnasium.spaces.Discrete(3, start=1))
    with pytest.raises(ExportFailed, match="Discrete"):
        export_policy(model, out_dir=tmp_path, **facts(key, LEVELS))
