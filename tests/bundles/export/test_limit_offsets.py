"""Policies that choose their limit offset: exported, loaded and traded on as the module or model answers."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from agents.execution.staging import serving
from bundles import TorchScriptPolicy, export_policy
from bundles.actions import ActionMapping
from bundles.errors import BundleRefused, ExportFailed
from bundles.export import export_module
from bundles.manifest import Space
from bundles.signing import SigningKey, TrustStore
from tests.bundles.models import facts, trained
from tests.bundles.samples import OBS

OFFSETS = (None, 0, 4)
HYBRID = ActionMapping(kind="hybrid", max_position=10.0, limit_offsets=OFFSETS)
PAIR = ActionMapping(kind="levels", max_position=10.0, levels=(-1.0, 0.0, None, 1.0), limit_offsets=OFFSETS)


def network(*, is_hybrid: bool) -> Any:
    import torch

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(4)
            self.side, self.size = torch.nn.Linear(OBS, 4), torch.nn.Linear(OBS, 1)

        def forward(self, obs: Any) -> Any:
            outputs = self.side(obs)
            offset = outputs[:, :3].argmax(dim=1, keepdim=True)
            if is_hybrid:
                return torch.cat([offset.to(torch.float32), self.size(obs) * 9.0], dim=1), outputs
            return torch.cat([outputs.argmax(dim=1, keepdim=True), offset], dim=1), outputs

    return Two()


def observations() -> Any:
    return np.random.default_rng(0).standard_normal((300, OBS)).astype(np.float32)


def test_a_hybrid_module_is_traded_on_with_its_own_limit_offsets(
    tmp_path: Path, key: SigningKey, trust: TrustStore
) -> None:
    path = export_module(network(is_hybrid=True), out_dir=tmp_path, obs_shape=(OBS,), **facts(key, HYBRID))
    policy = TorchScriptPolicy.load_bundle(path, trust)
    assert policy.manifest.action_space == Space(kind="hybrid", shape=(2,), n=(3,), low=(0.0, -1.0), high=(2.0, 1.0))
    bundle, offsets, targets = serving(policy.bundle), set(), set()
    for row in observations():
        action = bundle.policy.act(row)
        offsets.add(bundle.actions.limit_offset(action))
        targets.add(bundle.actions.to_target_lots(action, quantity_step=1.0, current_lots=0))
    assert offsets == set(OFFSETS)
    assert -10 <= min(targets) < 0 < max(targets) == 10


def test_a_module_of_two_indices_is_traded_on_and_may_keep_the_position(
    tmp_path: Path, key: SigningKey, trust: TrustStore
) -> None:
    path = export_module(network(is_hybrid=False), out_dir=tmp_path, obs_shape=(OBS,), **facts(key, PAIR))
    policy = TorchScriptPolicy.load_bundle(path, trust)
    assert policy.manifest.action_space == Space(kind="multi_discrete", shape=(2,), dtype="int64", n=(4, 3))
    actions, info = policy.predict(observations())
    assert info["is_hold"].tolist() == (actions[:, 0] == 2).tolist()
    bundle = serving(policy.bundle)
    targets = {
        bundle.actions.to_target_lots(bundle.policy.act(row), quantity_step=1.0, current_lots=7)
        for row in observations()
    }
    assert targets == {-10, 0, 7, 10}


def test_a_multi_discrete_model_is_traded_on(tmp_path: Path, key: SigningKey, trust: TrustStore) -> None:
    model, normalised = trained("PPO", gymnasium.spaces.MultiDiscrete([4, 3]))
    path = export_policy(model, out_dir=tmp_path, vec_normalize=normalised, **facts(key, PAIR))
    bundle = serving(TorchScriptPolicy.load_bundle(path, trust).bundle)
    row = observations()[0]
    wanted, _ = model.predict(normalised.normalize_obs(row), deterministic=True)
    assert bundle.policy.act(row) == tuple(wanted.tolist())
    assert bundle.actions.limit_offset(bundle.policy.act(row)) == OFFSETS[wanted[1]]


def test_a_module_with_other_actions_than_its_mapping_is_not_exported(tmp_path: Path, key: SigningKey) -> None:
    with pytest.raises(BundleRefused, match="can't be chosen"):
        export_module(network(is_hybrid=True), out_dir=tmp_path, obs_shape=(OBS,), **facts(key, PAIR))


def test_doubt_has_no_place_beside_a_limit_offset(tmp_path: Path, key: SigningKey) -> None:
    known = facts(key, PAIR, min_confidence=0.1)
    with pytest.raises(ExportFailed, match="levels alone"):
        export_module(network(is_hybrid=False), out_dir=tmp_path, obs_shape=(OBS,), **known)
