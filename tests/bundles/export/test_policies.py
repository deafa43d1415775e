"""Five algorithms, the spaces that they have, with a normaliser and without: the graph acts as the model does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest

from agents.execution.staging import serving
from bundles import TorchScriptPolicy, export_policy
from bundles.errors import BundleRefused, ExportFailed, PolicyError
from bundles.inputs import rows_of
from bundles.manifest import PROOF_NAME, Input
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from messages import RejectCode
from tests.bundles.models import (
    BOX,
    CONTINUOUS,
    DISCRETE,
    SCALES,
    WIDE,
    Parts,
    PartsAndPicture,
    Pictures,
    Walk,
    facts,
    trained,
)
from tests.bundles.samples import LEVELS, OBS

Case = tuple[str, gymnasium.Space[Any], bool, dict[str, Any]]
MULTI = gymnasium.spaces.MultiDiscrete([2, 3, 4])
BINARY = gymnasium.spaces.MultiBinary(3)
SQUASHED = {"use_sde": True, "policy_kwargs": {"net_arch": [16], "squash_output": True}}
PARTS = (
    Input(name="book", dtype="float32", shape=(2, 3)),
    Input(name="account", dtype="float32", shape=(2,)),
    Input(name="chart", dtype="float32", shape=(1, 36, 36)),
)
CASES: dict[str, Case] = {
    "dqn": ("DQN", DISCRETE, True, {}),
    "dqn-raw": ("DQN", DISCRETE, False, {}),
    "ppo": ("PPO", DISCRETE, True, {}),
    "ppo-raw": ("PPO", DISCRETE, False, {}),
    "ppo-box": ("PPO", WIDE, True, {}),
    "ppo-box-raw": ("PPO", BOX, False, {}),
    "ppo-squashed": ("PPO", WIDE, True, SQUASHED),
    "ppo-multi": ("PPO", MULTI, True, {}),
    "ppo-multi-raw": ("PPO", MULTI, False, {}),
    "ppo-binary": ("PPO", BINARY, True, {}),
    "ppo-binary-raw": ("PPO", BINARY, False, {}),
    "a2c": ("A2C", DISCRETE, True, {}),
    "a2c-raw": ("A2C", DISCRETE, False, {}),
    "a2c-sde": ("A2C", WIDE, True, {"use_sde": True}),
    "a2c-box-raw": ("A2C", WIDE, False, {}),
    "a2c-multi": ("A2C", MULTI, True, {}),
    "a2c-multi-raw": ("A2C", MULTI, False, {}),
    "a2c-binary": ("A2C", BINARY, True, {}),
    "a2c-binary-raw": ("A2C", BINARY, False, {}),
    "sac": ("SAC", WIDE, True, {}),
    "sac-sde-raw": ("SAC", BOX, False, {"use_sde": True}),
    "td3": ("TD3", WIDE, True, {}),
    "td3-raw": ("TD3", BOX, False, {}),
}


def remember_predictions(model: Any) -> None:
    """So that a second export of the same model is quick."""
    predict, known = model.predict, dict[bytes, Any]()

    def remembered(observation: Any, *, deterministic: bool) -> Any:
        assert deterministic
        what = np.asarray(observation).tobytes()
        if what not in known:
            known[what] = predict(observation, deterministic=True)
        return known[what]

    model.predict = remembered


@pytest.mark.parametrize("name", CASES)
def test_the_bundle_acts_as_the_trained_model(tmp_path: Path, key: SigningKey, trust: TrustStore, name: str) -> None:
    algorithm, action_space, is_normalised, options = CASES[name]
    model, normalised = trained(algorithm, action_space, **options)
    rows = (np.random.default_rng(3).standard_normal((100, OBS)) * SCALES).astype(np.float32)
    known = facts(key, LEVELS if action_space is DISCRETE else None, observations=rows)
    remember_predictions(model)
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised if is_normalised else None, **known)
    proof = msgspec.json.decode((path / PROOF_NAME).read_bytes())
    assert proof["equal_actions"] + proof["tied_actions"] == proof["observations"] == 10_000
    assert proof["tied_actions"] <= (3 if algorithm in {"PPO", "A2C"} else 0)
    assert proof["equal_bits"] == (10_000 if isinstance(action_space, gymnasium.spaces.Box) else None)
    if name in {"dqn", "ppo", "a2c", "sac", "td3"}:
        again = export_policy(model, out_dir=tmp_path / "again", vec_normalize=normalised, **known)
        assert read_files(str(again)) == read_files(str(path))
    policy = TorchScriptPolicy.load_bundle(path, trust)
    for row in rows:
        wanted, _ = model.predict(normalised.normalize_obs(row) if is_normalised else row, deterministic=True)
        found, _ = policy.predict(row)
        assert np.asarray(found).tobytes() == np.asarray(wanted).astype(np.asarray(found).dtype).tobytes()


def test_actions_that_mean_no_position_are_not_traded_on(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    model, _ = trained("PPO", MULTI)
    path = export_policy(model, out_dir=tmp_path, **facts(key, None))
    with pytest.raises(BundleRefused, match="mean no position"):
        serving(TorchScriptPolicy.load_bundle(path, trust).bundle)


@pytest.mark.parametrize(("algorithm", "action_space"), [("DQN", DISCRETE), ("PPO", MULTI)])
def test_a_policy_of_images_is_the_models(
    tmp_path: Path, key: SigningKey, trust: TrustStore, algorithm: str, action_space: gymnasium.Space[Any]
) -> None:
    model, _ = trained(algorithm, action_space, Pictures)
    path = export_policy(model, out_dir=tmp_path, **facts(key, None))
    proof = msgspec.json.decode((path / PROOF_NAME).read_bytes())
    assert proof["equal_actions"] + proof["tied_actions"] == 10_000
    policy = TorchScriptPolicy.load_bundle(path, trust)
    assert policy.manifest.obs_space.dtype == "uint8"
    picture = np.random.default_rng(0).integers(0, 256, (1, 36, 36), dtype=np.uint8)
    assert np.array_equal(policy.predict(picture)[0], model.predict(picture, deterministic=True)[0])


def parts(seed: int, environment: type[Parts] = PartsAndPicture) -> dict[str, Any]:
    observation, _ = environment(DISCRETE).reset(seed=seed)
    return dict(observation)


@pytest.mark.parametrize(
    ("algorithm", "action_space", "environment", "actions"),
    [
        ("DQN", DISCRETE, PartsAndPicture, LEVELS),
        ("A2C", BINARY, PartsAndPicture, None),
        ("TD3", BOX, Parts, CONTINUOUS),
    ],
    ids=["dqn", "a2c", "td3"],
)
def test_a_policy_of_several_inputs_is_the_models(
    tmp_path: Path,
    key: SigningKey,
    trust: TrustStore,
    algorithm: str,
    action_space: Any,
    environment: type[Parts],
    actions: Any,
) -> None:
    model, normalised = trained(algorithm, action_space, environment)
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised, **facts(key, actions))
    policy = TorchScriptPolicy.load_bundle(path, trust)
    several = [parts(seed, environment) for seed in range(20)]
    shapes = {item.name: item.shape for item in policy.manifest.inputs}
    assert shapes == {name: array.shape for name, array in several[0].items()}
    assert policy.manifest.obs_shape == (sum(array.size for array in several[0].values()),)
    assert set(policy.manifest.obs_space.spaces) == set(shapes)
    for observation in several:
        wanted, _ = model.predict(normalised.normalize_obs(observation), deterministic=True)
        assert np.array_equal(policy.predict(observation)[0], wanted)
    batch = {name: np.stack([observation[name] for observation in several]) for name in shapes}
    together, info = policy.predict(batch)
    assert len(together) == len(info["outputs"]) == 20
    if actions is not None:
        row = np.concatenate([several[0][name].reshape(-1).astype(np.float32) for name in shapes])
        wanted, _ = policy.predict(several[0])
        assert serving(policy.bundle).policy.act(row) == tuple(np.asarray(wanted, float).reshape(-1).tolist())


@pytest.mark.parametrize(
    "wrong",
    [
        {"account": None},
        {"other": np.zeros(2, np.float32)},
        {"book": np.zeros(6, np.float32)},
        {"account": np.zeros((4, 2), np.float32)},
        {"account": np.array(["a", "b"])},
    ],
    ids=["missing", "more", "shape", "batch", "type"],
)
def test_inputs_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    observation = {name: value for name, value in {**parts(0), **wrong}.items() if value is not None}
    with pytest.raises(PolicyError) as caught:
        rows_of(observation, PARTS)
    assert caught.value.code is RejectCode.WRONG_SHAPE


_OTHER_PROCESS = """
import pickle, sys
from pathlib import Path
import stable_baselines3
from bundles import export_policy
from bundles.signing import SigningKey
from tests.bundles.models import facts
from tests.bundles.samples import LEVELS
directory = Path(sys.argv[1])
model = stable_baselines3.DQN.load(directory / "model.zip", device="cpu")
normalised = pickle.loads((directory / "normaliser.pkl").read_bytes())
key = SigningKey.read(directory / "sign.key")
export_policy(model, out_dir=directory / sys.argv[2], vec_normalize=normalised, **facts(key, LEVELS))
"""


def test_two_processes_give_the_same_bytes(tmp_path: Path, key: SigningKey) -> None:
    model, normalised = trained("DQN", DISCRETE)
    model.save(tmp_path / "model.zip")
    normalised.save(str(tmp_path / "normaliser.pkl"))
    key.write(tmp_path / "sign.key")
    command = [sys.executable, "-c", _OTHER_PROCESS, str(tmp_path), "there"]
    subprocess.run(command, check=True, timeout=120, cwd=Path(__file__).parents[3])
    here = export_policy(model, out_dir=tmp_path / "here", vec_normalize=normalised, **facts(key, LEVELS))
    assert read_files(str(tmp_path / "there/run")) == read_files(str(here))


def test_a_policy_in_doubt_keeps_the_position(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    model, normalised = trained("DQN", DISCRETE)
    known = facts(key, LEVELS, min_confidence=0.05)
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised, **known)
    policy = TorchScriptPolicy.load_bundle(path, trust)
    assert policy.manifest.actions == msgspec.structs.replace(LEVELS, levels=(*LEVELS.levels, None))
    rows = (np.random.default_rng(0).standard_normal((2_000, OBS)) * SCALES).astype(np.float32)
    actions, info = policy.predict(rows)
    shares = np.exp(info["outputs"]) / np.exp(info["outputs"]).sum(axis=1, keepdims=True)
    best = np.sort(shares, axis=1)
    is_sure = best[:, -1] - best[:, -2] >= 0.05
    wanted, _ = model.predict(normalised.normalize_obs(rows), deterministic=True)
    assert 0 < is_sure.sum() < len(rows)
    assert (actions == np.where(is_sure, wanted, 3)).all()
    assert (info["is_hold"] == ~is_sure).all()
    assert policy.holds == (~is_sure).sum()
    mapping = policy.manifest.actions
    assert mapping is not None
    assert mapping.to_target_lots((3.0,), quantity_step=0.1, current_lots=7) == 7


def test_a_normaliser_of_other_axes_is_refused(tmp_path: Path, key: SigningKey) -> None:
    model, normalised = trained("DQN", DISCRETE)
    normalised.obs_rms.mean = normalised.obs_rms.mean[:1]
    with pytest.raises(ExportFailed, match="VecNormalize knows obs"):
        export_policy(model, out_dir=tmp_path, vec_normalize=normalised, **facts(key, LEVELS))


def test_a_normaliser_that_leaves_observations_alone_stays_out(
    tmp_path: Path, key: SigningKey, trust: TrustStore
) -> None:
    model, normalised = trained("DQN", DISCRETE)
    normalised.norm_obs = False
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised, **facts(key, LEVELS))
    row = np.full(OBS, 0.3, np.float32)
    found, _ = TorchScriptPolicy.load_bundle(path, trust).predict(row)
    assert found == model.predict(row, deterministic=True)[0]


def test_observations_that_are_no_numbers_are_refused(tmp_path: Path, key: SigningKey) -> None:
    class Counted(Walk):
        def __init__(self, action_space: gymnasium.Space[Any]) -> None:
            super().__init__(action_space)
            self.observation_space = gymnasium.spaces.Discrete(4)

        def _observe(self) -> Any:
            return 1

    import stable_baselines3

    model = stable_baselines3.DQN("MlpPolicy", Counted(DISCRETE), device="cpu")
    with pytest.raises(ExportFailed, match="use a Box"):
        export_policy(model, out_dir=tmp_path, **facts(key, LEVELS))


def test_a_space_that_has_no_form_is_refused(tmp_path: Path, key: SigningKey) -> None:
    model, _ = trained("PPO", gymnasium.spaces.Discrete(3, start=1))
    with pytest.raises(ExportFailed, match="Discrete"):
        export_policy(model, out_dir=tmp_path, **facts(key, LEVELS))
