"""Every PolicyRuntime is held to the protocol's words."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bundles.errors import PolicyError
from bundles.export.formats_onnx import onnx_model
from bundles.manifest import POLICY_NAME
from bundles.runtimes.onnx import OnnxRuntime
from bundles.runtimes.protocol import PolicyRuntime, warm
from bundles.runtimes.torchscript import TorchScriptRuntime, load_graph
from messages import Refused, RejectCode
from tests.bundles.samples import crafted_policy

Load = Callable[[bytes], PolicyRuntime]
DISCRETE = ["return (torch.argmax(obs, 1), torch.slice(obs, 1, 0, 3))"]
CONTINUOUS = ["outputs = torch.slice(obs, 1, 0, 1)", "return (torch.clamp(outputs, -1.0, 1.0), outputs)"]


@pytest.fixture(params=["torchscript", "onnx"])
def load(request: pytest.FixtureRequest) -> Load:
    backends: dict[str, Load] = {
        "torchscript": lambda policy: TorchScriptRuntime.load(policy, (4,)),
        "onnx": lambda policy: OnnxRuntime.load(onnx_model(load_graph(policy), (4,)), (4,)),
    }
    return backends[str(request.param)]


def row(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, np.float32)


def test_a_discrete_action_is_one_whole_number(load: Load) -> None:
    runtime = load(crafted_policy(DISCRETE))
    warm(runtime)
    assert runtime.obs_shape == (4,)
    assert runtime.act(row(0, 0, 5, 0)) == (2.0,)


def test_a_continuous_action_is_its_numbers(load: Load) -> None:
    assert load(crafted_policy(CONTINUOUS)).act(row(0.5, 9, 9, 9)) == (0.5,)


def test_a_batch_is_its_rows(load: Load) -> None:
    for lines in (DISCRETE, CONTINUOUS):
        runtime = load(crafted_policy(lines))
        observations = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
        assert runtime.act_batch(observations) == [runtime.act(observation) for observation in observations]


def test_shapes_and_types_are_as_promised(load: Load) -> None:
    actions, outputs = load(crafted_policy(DISCRETE)).forward(np.zeros((5, 4), np.float32))
    assert (actions.shape, str(actions.dtype), outputs.shape, str(outputs.dtype)) == ((5,), "int64", (5, 3), "float32")
    actions, outputs = load(crafted_policy(CONTINUOUS)).forward(np.zeros((5, 4), np.float32))
    assert (actions.shape, str(actions.dtype), outputs.shape) == ((5, 1), "float32", (5, 1))


def test_nothing_of_an_observation_is_kept(load: Load) -> None:
    runtime = load(crafted_policy(CONTINUOUS))
    observation = row(0.5, 0, 0, 0)
    action = runtime.act(observation)
    runtime.act(row(0.25, 0, 0, 0))
    assert (action, observation[0]) == ((0.5,), 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_raises(load: Load, value: float) -> None:
    runtime = load(crafted_policy(DISCRETE))
    for call in (lambda: runtime.act(row(0, value, 0, 0)), lambda: runtime.forward(row(0, value, 0, 0)[None])):
        with pytest.raises(PolicyError) as caught:
            call()
        assert caught.value.code is RejectCode.NOT_FINITE
    assert runtime.act(row(0, 1, 0, 0)) == (1.0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_observation_that_is_not_finite_raises_even_where_the_graph_hides_it(load: Load, value: float) -> None:
    outputs = "outputs = torch.clamp(torch.slice(obs, 1, 0, 3), -1.0, 1.0)"
    runtime = load(crafted_policy([outputs, "return (torch.argmax(outputs, 1), outputs)"]))
    for call in (lambda: runtime.act(row(0, 0, 0, value)), lambda: runtime.forward(row(0, 0, 0, value)[None])):
        with pytest.raises(PolicyError) as caught:
            call()
        assert caught.value.code is RejectCode.NOT_FINITE


WRONG: list[Any] = [
    np.zeros(3, np.float32),
    np.zeros(1, np.float32),
    np.zeros((1, 4), np.float32),
    np.float32(0),
    np.zeros(4, np.float64),
    np.zeros(4, np.int32),
    np.zeros(4, np.dtype(">f4")),
    [0.0, 0.0, 0.0, 0.0],
]


@pytest.mark.parametrize("observation", WRONG, ids=lambda wrong: f"{type(wrong).__name__}-{np.asarray(wrong).dtype}")
def test_observations_of_another_shape_or_type_raise(load: Load, observation: Any) -> None:
    runtime = load(crafted_policy(DISCRETE))
    with pytest.raises(PolicyError) as caught:
        runtime.act(observation)
    assert caught.value.code is RejectCode.WRONG_SHAPE
    assert runtime.act(row(0, 1, 0, 0)) == (1.0,)


def test_batches_of_another_shape_raise(load: Load) -> None:
    runtime = load(crafted_policy(DISCRETE))
    for shape in ((5, 3), (4,), (5, 1, 4)):
        with pytest.raises(PolicyError):
            runtime.forward(np.zeros(shape, np.float32))


def test_an_observation_may_lie_anywhere_in_memory(load: Load) -> None:
    runtime = load(crafted_policy(DISCRETE))
    wide = np.array([0, 9, 5, 9, 1, 9, 1, 9], np.float32)[::2]
    wide.flags.writeable = False
    assert runtime.act(wide) == (1.0,)


def test_a_failing_graph_is_refused_at_the_latest_when_it_is_asked(load: Load) -> None:
    lines = ["outputs = torch.mm(obs, obs)", "return (torch.argmax(outputs, 1), outputs)"]
    with pytest.raises(Refused):
        load(crafted_policy(lines)).act(row(0, 0, 0, 0))


def test_an_exported_policy_runs(load: Load, files: dict[str, bytes]) -> None:
    assert load(files[POLICY_NAME]).act(row(0, 0, 0, 0))[0] in {0.0, 1.0, 2.0}
