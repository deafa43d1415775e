"""Policies that are chains of layers: read from the same policy.pt, they answer as TorchScript does."""

import io
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from bundles.archive import canonical
from bundles.errors import BundleRefused, PolicyError
from bundles.export.stable_baselines import greedy_module
from bundles.runtimes.mlp import MlpRuntime
from bundles.runtimes.mlp_program import mlp_program
from bundles.runtimes.torchscript import TorchScriptRuntime
from messages import RejectCode

SIZE, ROWS = 7, 2_000


class Market(gym.Env[Any, Any]):
    """Noise."""

    def __init__(self, *, is_discrete: bool) -> None:
        self.observation_space = gym.spaces.Box(-5, 5, (SIZE,), np.float32)
        self.action_space = gym.spaces.Discrete(3) if is_discrete else gym.spaces.Box(-2, 3, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, False, {}


def saved(module: torch.nn.Module, size: int = SIZE) -> bytes:
    buffer = io.BytesIO()
    trace: Any = torch.jit.trace
    torch.jit.save(torch.jit.freeze(trace(module.eval(), torch.zeros(3, size), check_trace=False)), buffer)
    return canonical(buffer.getvalue())


def exported(algorithm: Any, *, is_discrete: bool, is_normalised: bool) -> bytes:
    env: Any = DummyVecEnv([lambda: Market(is_discrete=is_discrete)])
    if is_normalised:
        env = VecNormalize(env)
        env.obs_rms.mean[:], env.obs_rms.var[:] = np.linspace(-1, 1, SIZE), np.linspace(0.1, 9, SIZE)
    model = algorithm("MlpPolicy", env, seed=1)
    return saved(greedy_module(model, env if is_normalised else None))


def observations(largest: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    random = np.random.default_rng(3)
    scale = largest * 10.0 ** random.uniform(-6, 0, (ROWS, 1))
    return (random.standard_normal((ROWS, SIZE)) * scale).astype(np.float32)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("is_normalised", [True, False])
@pytest.mark.parametrize(
    ("algorithm", "is_discrete"), [(DQN, True), (PPO, True), (PPO, False), (A2C, False), (SAC, False), (TD3, False)]
)
def test_it_answers_as_torchscript_does(algorithm: Any, is_discrete: bool, is_normalised: bool) -> None:
    policy = exported(algorithm, is_discrete=is_discrete, is_normalised=is_normalised)
    ours, theirs = MlpRuntime.load(policy, (SIZE,)), TorchScriptRuntime.load(policy, (SIZE,))
    rows = observations(1000.0 if is_normalised else 3.0)  # beyond, float32 sums differ by their order
    actions, outputs = ours.forward(rows)
    expected_actions, expected_outputs = theirs.forward(rows)
    assert (actions.dtype, actions.shape, outputs.shape) == (
        expected_actions.dtype, expected_actions.shape, expected_outputs.shape,
    )  # fmt: skip
    scale = 1.0 + np.abs(expected_outputs).max(axis=1, keepdims=True)
    assert (np.abs(outputs - expected_outputs) <= 2e-6 * scale).all()
    if is_discrete:
        margin = np.diff(np.sort(expected_outputs, axis=1)[:, -2:], axis=1)[:, 0]
        clear = margin > 1e-5 * scale[:, 0]
        assert clear.sum() > 500
        assert (actions == expected_actions)[clear].all()
    else:
        assert np.abs(actions - expected_actions).max() <= 1e-6 * 5.0
    for row in range(32):
        assert ours.act(rows[row]) == tuple(actions[row : row + 1].reshape(-1).astype(np.float64).tolist())
    assert ours.act_batch(rows[:8]) == [ours.act(row) for row in rows[:8]]


class Branching(torch.nn.Module):
    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (obs * obs).argmax(dim=1), obs


class Mixing(torch.nn.Module):
    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.argmax(obs.relu(), dim=1), obs.tanh()


class Sigmoid(torch.nn.Module):
    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = obs.sigmoid()
        return outputs.argmax(dim=1), outputs


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.parametrize("make", [Branching, Mixing, Sigmoid])
def test_what_is_no_chain_of_known_layers_has_no_program(make: Callable[[], torch.nn.Module]) -> None:
    policy = saved(make())
    assert mlp_program(policy, (SIZE,)) is None
    with pytest.raises(BundleRefused) as caught:
        MlpRuntime.load(policy, (SIZE,))
    assert caught.value.code is RejectCode.LOAD_FAILED
    assert "torchscript" in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*torch.jit.*:FutureWarning")
def test_nan_and_other_shapes_are_policy_errors() -> None:
    runtime = MlpRuntime.load(exported(PPO, is_discrete=False, is_normalised=True), (SIZE,))
    assert runtime.act(np.zeros(SIZE, np.float32)) == runtime.act(np.zeros(SIZE, np.float32))
    infinite = np.full(SIZE, np.inf, np.float32)  # which the normaliser's clipping would hide
    wrongs: list[Any] = [np.full(SIZE, np.nan, np.float32), infinite, np.zeros(SIZE + 1, np.float32),
                         np.zeros((1, SIZE), np.float32), np.zeros(SIZE), [0.0] * SIZE]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(PolicyError):
            runtime.act(wrong)
    with pytest.raises(PolicyError):
        runtime.forward(np.stack([infinite, infinite]))
    with pytest.raises(PolicyError):
        runtime.forward(np.full((2, SIZE), np.nan, np.float32))
    assert runtime.act(np.ones(SIZE, np.float32))
