"""What must not be in a policy.onnx is refused before ONNX Runtime sees it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundles.errors import BundleRefused
from bundles.export.formats_onnx import onnx_model
from bundles.loader import load_bundle
from bundles.manifest import ONNX_NAME, BundleFile
from bundles.scan.onnx import check_model
from bundles.signing import SigningKey, TrustStore
from messages import RejectCode
from tests.bundles.samples import export_sample, manifest_of, resigned, sample_files, tiny_module, write_all


@pytest.fixture(scope="module")
def good() -> bytes:
    return onnx_model(tiny_module(), (4,))


def parsed(model: bytes) -> Any:
    return onnx.load_model_from_string(model)


def code_of(model: bytes, obs_shape: tuple[int, ...] = (4,)) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        check_model(model, obs_shape)
    return caught.value.code


def test_what_export_writes_passes(good: bytes) -> None:
    check_model(good, (4,))


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def inner_graph(model: Any) -> None:
    graph = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["obs"], ["x"], then_branch=graph, else_branch=graph))


def graph_in_allowed_node(model: Any) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "inner", [], [])))


def function(model: Any) -> None:
    opset = helper.make_opsetid("", 17)
    model.functions.append(helper.make_function("", "Relu", ["x"], ["x"], [], [opset]))


def wrong_size(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 10**9


def strings(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="s", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"]))


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def metadata(model: Any) -> None:
    model.metadata_props.add(key="x", value="y")


def more_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def other_domain(model: Any) -> None:
    model.graph.node[0].domain = "com.microsoft"


def custom_opset(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("evil", 1))


def old_opset(model: Any) -> None:
    model.opset_import[0].version = 6


def loop(model: Any) -> None:
    model.graph.node[0].op_type = "Loop"


def many_nodes(model: Any) -> None:
    model.graph.node.extend([helper.make_node("Relu", ["obs"], [f"x{n}"]) for n in range(5_000)])


def hidden_constant(model: Any) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32))
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def reference(model: Any) -> None:
    attribute = helper.make_attribute("alpha", 1.0)
    attribute.ref_attr_name = "x"
    model.graph.node[0].attribute.append(attribute)


@pytest.mark.parametrize(
    "change",
    [external, inner_graph, graph_in_allowed_node, function, wrong_size, strings, sparse, metadata, more_inputs,
     other_domain, custom_opset, old_opset, loop, many_nodes, hidden_constant, reference],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_what_is_not_on_the_lists_is_refused(good: bytes, change: Callable[[Any], None]) -> None:
    model = parsed(good)
    change(model)
    assert code_of(model.SerializeToString(deterministic=True)) is RejectCode.FORBIDDEN_CODE


def test_observations_of_another_shape_are_refused(good: bytes) -> None:
    assert code_of(good, (5,)) is RejectCode.FORBIDDEN_CODE


def test_bytes_beside_the_canonical_form_are_refused(good: bytes) -> None:
    unknown_field = b"\xfa\x7f\x01x"
    for model in (good + unknown_field, unknown_field + good, good + good, good[:-1], b"", b"\x00" * 100, b"\x0a" * 99):
        assert code_of(model) is RejectCode.FORBIDDEN_CODE


def test_deep_nesting_is_refused() -> None:
    nested = b""
    for _ in range(5_000):  # a graph in an attribute of a node of a graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            nested = tag + _varint(len(nested)) + nested
    assert code_of(b"\x3a" + _varint(len(nested)) + nested) is RejectCode.FORBIDDEN_CODE


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> dict[str, bytes]:
    return sample_files(tmp_path_factory.mktemp("onnx"), key, formats=("onnx",))


def refusal(home: Path, files: dict[str, bytes], trust: TrustStore) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        load_bundle(write_all(home / "bundle", files), trust=trust, runtime="onnx")
    return caught.value.code


def test_a_changed_byte_is_found(bundled: dict[str, bytes], trust: TrustStore, tmp_path: Path) -> None:
    model = bundled[ONNX_NAME]
    changed = {**bundled, ONNX_NAME: model[:200] + bytes([model[200] ^ 1]) + model[201:]}
    assert refusal(tmp_path, changed, trust) is RejectCode.DIGEST_MISMATCH


def test_another_policy_signed_by_a_trusted_key_fails_the_golden_answers(
    bundled: dict[str, bytes], key: SigningKey, trust: TrustStore, tmp_path: Path
) -> None:
    other = resigned(bundled, key, {ONNX_NAME: onnx_model(tiny_module(seed=1), (4,))})
    assert refusal(tmp_path, other, trust) is RejectCode.GOLDEN_MISMATCH


def test_an_evil_model_signed_by_a_trusted_key_is_refused(
    bundled: dict[str, bytes], key: SigningKey, trust: TrustStore, tmp_path: Path
) -> None:
    model = parsed(bundled[ONNX_NAME])
    external(model)
    evil = resigned(bundled, key, {ONNX_NAME: model.SerializeToString(deterministic=True)})
    assert refusal(tmp_path, evil, trust) is RejectCode.FORBIDDEN_CODE


def test_nan_weights_are_refused(bundled: dict[str, bytes], key: SigningKey, trust: TrustStore, tmp_path: Path) -> None:
    model = parsed(bundled[ONNX_NAME])
    weights = model.graph.initializer[0]
    weights.raw_data = np.full(len(weights.raw_data) // 4, np.nan, np.float32).tobytes()
    evil = resigned(bundled, key, {ONNX_NAME: model.SerializeToString(deterministic=True)})
    assert refusal(tmp_path, evil, trust) is RejectCode.NOT_FINITE


def test_a_graph_that_makes_no_sense_is_refused(
    bundled: dict[str, bytes], key: SigningKey, trust: TrustStore, tmp_path: Path
) -> None:
    model = parsed(bundled[ONNX_NAME])
    model.graph.node[0].input[0] = "nowhere"
    evil = resigned(bundled, key, {ONNX_NAME: model.SerializeToString(deterministic=True)})
    assert refusal(tmp_path, evil, trust) is RejectCode.LOAD_FAILED


def test_a_bundle_without_it_is_refused(key: SigningKey, trust: TrustStore, tmp_path: Path) -> None:
    directory = export_sample(tmp_path, key)
    with pytest.raises(BundleRefused) as caught:
        load_bundle(directory, trust=trust, runtime="onnx")
    assert caught.value.code is RejectCode.MISSING_FILE


def test_it_is_listed_with_its_digest(bundled: dict[str, bytes]) -> None:
    assert isinstance(manifest_of(bundled).files[ONNX_NAME], BundleFile)
