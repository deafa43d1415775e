from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bundles.archive import CODE_NAME, ConstantTensor, unpack
from bundles.export import export_module
from bundles.manifest import POLICY_NAME
from bundles.runtimes.torchscript import TorchScriptRuntime, load_graph
from bundles.runtimes.transposed import with_transposed_weights
from bundles.scan.torchscript import check_archive
from tests.bundles.samples import crafted_policy

WEIGHTS = {
    "c0": ConstantTensor("FloatStorage", "0", 12, 0, (3, 4), (4, 1)),
    "c1": ConstantTensor("FloatStorage", "1", 3, 0, (3,), (1,)),
}


def code_of(policy: bytes) -> str:
    return unpack(policy)[CODE_NAME].decode()


def tower(width: int, activation: Callable[[], Any], *, obs: int = 11) -> Any:
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(width)
            self.body = torch.nn.Sequential(
                torch.nn.Linear(obs, width), activation(), torch.nn.Linear(width, width), activation()
            )
            self.head, self.value = torch.nn.Linear(width, 3), torch.nn.Linear(width, 2)
            self.register_buffer("mean", torch.full((obs,), 0.1, dtype=torch.float64))

        def forward(self, obs: Any) -> Any:
            mean: Any = self.mean
            hidden = self.body(((obs.to(torch.float64) - mean) / 0.7).clamp(-3.0, 3.0).to(torch.float32))
            outputs = torch.cat([self.head(hidden), self.value(hidden)], 1)
            return torch.tanh(self.head(hidden)[:, :1]), outputs

    return Tower().eval()


@pytest.mark.parametrize("width", [3, 64, 257])
def test_the_answers_have_the_same_bits_alone_and_in_batches(width: int) -> None:
    import torch

    from bundles.export.policy import _trace

    for activation in (torch.nn.ReLU, torch.nn.Tanh, torch.nn.ELU):
        policy = _trace(tower(width, activation), (11,))
        faster = with_transposed_weights(policy)
        check_archive(faster)
        before, after = (TorchScriptRuntime(load_graph(form), (11,)) for form in (policy, faster))
        observations = np.random.default_rng(1).normal(0, 3, (300, 11)).astype(np.float32)
        for rows in (observations, observations[:7], *(row[None] for row in observations)):
            for wanted, found in zip(before.forward(rows), after.forward(rows), strict=True):
                assert wanted.tobytes() == found.tobytes()


def test_layers_over_rows_are_rewritten(files: dict[str, bytes]) -> None:
    code = code_of(with_transposed_weights(files[POLICY_NAME]))
    assert code.count("torch.addmm(") == code_of(files[POLICY_NAME]).count("torch.linear(") == 2
    assert "torch.linear(" not in code


def test_a_layer_inside_a_call_is_rewritten() -> None:
    line = "outputs = torch.relu(torch.linear(torch.clamp(obs, -1., 1.), CONSTANTS.c0, CONSTANTS.c1))"
    policy = with_transposed_weights(crafted_policy([line, "return (torch.argmax(outputs, 1), outputs)"], WEIGHTS))
    assert "torch.relu(torch.addmm(CONSTANTS.c1, torch.clamp(obs, -1., 1.), CONSTANTS.c0))" in code_of(policy)
    assert TorchScriptRuntime(load_graph(policy), (4,)).forward(np.ones((1, 4), np.float32))[1].tolist() == [[5.0] * 3]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["a = torch.unsqueeze(obs, 1)", "b = torch.linear(a, CONSTANTS.c0, CONSTANTS.c1)"], id="not rows"),
        pytest.param(
            ["b = torch.linear(torch.linear(obs, CONSTANTS.c0, CONSTANTS.c1), CONSTANTS.c0, CONSTANTS.c1)"], id="shared"
        ),
        pytest.param(["b = torch.linear(obs, CONSTANTS.c0)", "a = CONSTANTS.c1"], id="no bias"),
        pytest.param(["b = torch.linear(obs, CONSTANTS.c1, CONSTANTS.c0)"], id="odd weights"),
        pytest.param(["obs = torch.sum(obs)", "b = torch.linear(obs, CONSTANTS.c0, CONSTANTS.c1)"], id="another obs"),
    ],
)
def test_what_is_no_layer_over_rows_stays_as_it_is(lines: list[str]) -> None:
    policy = crafted_policy([*lines, "return (b, b)"], WEIGHTS)
    assert with_transposed_weights(policy) == policy


def test_images_stay_as_they_are(tmp_path: Any) -> None:
    import torch

    from tests.bundles.samples import LEVELS

    class Image(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(6, 3)

        def forward(self, obs: Any) -> Any:
            outputs = self.layer(obs).sum(dim=1)
            return outputs.argmax(dim=1), outputs

    directory = export_module(
        Image(), out_dir=tmp_path, obs_shape=(5, 6), strategy="s", instruments=("A",), features=None, actions=LEVELS,
        sequence=1, created=1, key=None, run_name="image",
    )  # fmt: skip
    runtime = TorchScriptRuntime.load((directory / POLICY_NAME).read_bytes(), (5, 6))
    assert runtime.act(np.zeros((5, 6), np.float32))[0] in {0.0, 1.0, 2.0}
