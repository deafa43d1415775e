import pytest

from bundles import archive
from bundles.archive import ConstantTensor
from bundles.errors import BundleRefused
from bundles.manifest import POLICY_NAME
from bundles.scan.torchscript import check_archive
from messages import RejectCode
from tests.bundles.samples import crafted_policy, endless_policy

CONSTANT = {"c0": ConstantTensor("FloatStorage", "0", 4, 0, (4,), (1,))}
END = "return (torch.argmax(obs, 1), obs)"


def refused(policy: bytes) -> str:
    with pytest.raises(BundleRefused) as caught:
        check_archive(policy)
    assert caught.value.code is RejectCode.FORBIDDEN_CODE
    return caught.value.detail


def test_an_exported_policy_passes(files: dict[str, bytes]) -> None:
    check_archive(files[POLICY_NAME])


def test_straight_line_tensor_maths_passes() -> None:
    lines = [
        "_0 = torch.sub(torch.to(obs, 7), CONSTANTS.c0, alpha=1)",
        "_1, _2, = torch.split(_0, [1, 3], 1)",
        "_3 = torch.dropout(torch.batch_norm(_1, None, None, None, None, False, 0.1, 1.0e-05, True), 0.5, False)",
        "_4 = annotate(List[Tensor], [_3, _2])",
        "_5 = torch.view(torch.cat(_4, 1), [int(ops.prim.NumToTensor(torch.size(obs, 0))), -1])",
        "return (torch.argmax(_5, 1), _5)",
    ]
    check_archive(crafted_policy(lines, CONSTANT))
    check_archive(endless_policy())


@pytest.mark.parametrize(
    "line",
    [
        '_0 = torch.from_file("/etc/passwd")',
        '_0 = torch.save(obs, "/tmp/x")',
        "_0 = ops.aten.save(obs)",
        "_0 = ops.prim.RaiseException(obs)",
        "_0 = ops.prim.PythonOp(obs)",
        "_0 = ops.mylib.run(obs)",
        '_0 = open("x")',
        'print("x")',
        "_0 = uninitialized(Tensor)",
        "_0 = unchecked_cast(Tensor, obs)",
        "_0 = annotate(__torch__.evil.Thing, obs)",
        "_0 = self.other(obs)",
        "_0 = (self).other",
        "_0 = __torch__.evil.f(obs)",
        "_0 = CONSTANTS.c7",
        "_0 = torch.add(obs, obs, out=CONSTANTS.c0)",
        "_0 = torch.relu_(CONSTANTS.c0)",
        "_0 = torch.add_(CONSTANTS.c0, obs)",
        "_0 = torch.dropout(obs, 0.5, True)",
        "_0 = torch.dropout(obs, 0.5)",
        "_0 = torch.batch_norm(obs, None, None, None, None, True, 0.1, 1.0e-05, True)",
        "_0 = torch.rand([2, 2])",
        "_0 = torch.zeros([100000, 100000])",
        "_0 = obs.shape",
        "_0 = obs[0]",
        "_0 = lambda x: x",
        "_0 = [x for x in obs]",
        "_0 = torch.add(*obs)",
        '_0 = torch.gelu(obs, approximate="other")',
        "_0: Tensor = obs",
        "self.x = obs",
        "obs.x = obs",
        "global x",
        "import os",
        "while True:\n      pass",
        "for _ in range(9):\n      pass",
        "if True:\n      pass",
        "_0 = obs # type: ignore",
        '_0 = torch.gelu(obs, approximate="no\\x6ee")',
        "_0 = torch.relu(öbs)",
    ],
)
def test_anything_else_is_refused(line: str) -> None:
    refused(crafted_policy([line, END], CONSTANT))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("__buffers__ = []", "__buffers__ = []\n  def __setstate__(self, x: Tensor) -> None:\n    return None"),
        ("__buffers__ = []", '__buffers__ = ["x"]\n  x : Tensor'),
        ("obs: Tensor)", "obs: Tensor, more: Tensor)"),
        ("-> Tuple[Tensor, Tensor]", "-> Tensor"),
        ("class Policy", "class Other(Module):\n  pass\nclass Policy"),
        ("(Module)", "(NamedTuple)"),
        ("class Policy", "@decorator\nclass Policy"),
        ("obs: Tensor)", "obs: Tensor=None)"),
    ],
)
def test_only_one_class_with_one_forward_passes(old: str, new: str) -> None:
    entries = archive.unpack(crafted_policy([END]))
    entries[archive.CODE_NAME] = entries[archive.CODE_NAME].replace(old.encode(), new.encode(), 1)
    refused(archive.pack(entries))


@pytest.mark.parametrize("depth", [500, 50_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    refused(crafted_policy([f"_0 = {'(' * depth}obs{')' * depth}", END]))


@pytest.mark.parametrize(
    "tensor",
    [
        ConstantTensor("FloatStorage", "0", 4, 1, (4,), (1,)),
        ConstantTensor("FloatStorage", "0", 4, 0, (2, 2), (3, 1)),
        ConstantTensor("DoubleStorage", "0", 4, 0, (4,), (1,)),
    ],
    ids=["offset", "stride", "type"],
)
def test_a_constant_that_reads_beyond_its_numbers_is_refused(tensor: ConstantTensor) -> None:
    refused(crafted_policy([END], {"c0": tensor}))


@pytest.mark.parametrize(
    "change",
    [
        {"archive/extra/x": b"1"},
        {archive.DATA_NAME: b"\x80\x02cos\nsystem\n."},
        {archive.BYTEORDER_NAME: b"big"},
        {archive.VERSION_NAME: b"x"},
        {archive.CODE_NAME: b""},
        {"archive/code/__torch__/evil.py": b"class Evil(Module):\n  pass\n"},
    ],
    ids=["extra", "data", "byteorder", "version", "empty", "second"],
)
def test_other_entries_are_refused(change: dict[str, bytes]) -> None:
    refused(archive.pack({**archive.unpack(crafted_policy([END])), **change}))
