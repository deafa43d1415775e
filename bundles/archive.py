"""TorchScript archives in one canonical form: the same graph gives the same bytes.

The form: a ZIP of stored entries in fixed order, one attribute-less class `__torch__.policy.Policy`, tensors as
constants, no debug files. `torch.jit.load` reads it; scan.py accepts nothing else.
"""

import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, NoReturn

from msgspec import Struct

from bundles.errors import BundleRefused, ExportFailed
from messages.status import RejectCode

CODE_NAME = "archive/code/__torch__/policy.py"
CONSTANTS_NAME = "archive/constants.pkl"
DATA_NAME = "archive/data.pkl"
VERSION_NAME = "archive/version"
BYTEORDER_NAME = "archive/byteorder"
CLASS_NAME = "__torch__.policy.Policy"
DATA_PICKLE = b"\x80\x02c__torch__.policy\nPolicy\n)\x81}(ub."
STORAGE_BYTES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip
_MAX_ENTRIES = 4096
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    EOFError,
    OSError,
    KeyError,
    struct.error,
)
_PICKLE_ERRORS = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, struct.error,
    OverflowError, MemoryError, RecursionError,
)  # fmt: skip


class ConstantTensor(Struct, frozen=True):
    """One tensor of constants.pkl: where its numbers lie in which stored entry. Counts and strides in elements."""

    storage: str
    key: str
    storage_count: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def pack(entries: Mapping[str, bytes]) -> bytes:
    """Return a ZIP that stores the entries in the given order; the same entries give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, _ZIP_EPOCH)
            info.create_system, info.external_attr = 3, 0
            archive.writestr(info, content)
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """Return the entries of a ZIP exactly as `pack` writes it.

    Nothing is decompressed, and what two ZIP readers might read differently is refused.
    Raises BundleRefused FORBIDDEN_CODE.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            infos = opened.infolist()
            if len(infos) > _MAX_ENTRIES or sum(info.file_size for info in infos) > len(archive):
                _refuse("its entries are too many or overlap")
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                _refuse("it holds compressed entries")
            entries = {info.filename: opened.read(info) for info in infos}
    except _ZIP_ERRORS as error:
        raise BundleRefused(RejectCode.FORBIDDEN_CODE, f"it is no readable archive ({error})") from error
    if pack(entries) != archive:
        _refuse("it is not in canonical form")
    return entries


def canonical(saved: bytes) -> bytes:
    """Return the canonical form of what `torch.jit.save` wrote of a frozen module.

    Raises ExportFailed when the module was not frozen or holds more than tensors and one method.
    """
    with zipfile.ZipFile(io.BytesIO(saved)) as opened:
        prefix = opened.namelist()[0].split("/")[0]
        entries = {name.removeprefix(f"{prefix}/"): opened.read(name) for name in opened.namelist()}
    code_names = [name for name in entries if name.startswith("code/") and name.endswith(".py")]
    module, _, name = _class_of(entries["data.pkl"]).partition(" ")
    if len(code_names) != 1 or code_names[0] != f"code/{module.replace('.', '/')}.py":
        raise ExportFailed(f"the module has code in {', '.join(code_names)}", _FREEZE)
    code = entries[code_names[0]].decode()
    code = code.replace(f"{module}.{name}", CLASS_NAME).replace(f"class {name}(Module)", "class Policy(Module)", 1)
    tensors = parse_constants(entries["constants.pkl"])
    return pack(
        {
            DATA_NAME: DATA_PICKLE,
            CODE_NAME: code.encode(),
            **{f"archive/constants/{key}": entries[f"constants/{key}"] for key in storage_keys(tensors)},
            CONSTANTS_NAME: format_constants(tensors),
            VERSION_NAME: entries["version"].strip() + b"\n",
            BYTEORDER_NAME: b"little",
        }
    )


def storage_keys(tensors: tuple[ConstantTensor, ...]) -> tuple[str, ...]:
    """Return the names of the stored entries in order of first use."""
    return tuple(dict.fromkeys(tensor.key for tensor in tensors))


def parse_constants(pickled: bytes) -> tuple[ConstantTensor, ...]:
    """Return the tensors that constants.pkl describes; nothing of what it names is called.

    Raises BundleRefused FORBIDDEN_CODE when it describes anything but plain CPU tensors.
    """
    try:
        tensors = _ConstantsReader(io.BytesIO(pickled)).load()
    except _PICKLE_ERRORS as error:
        raise BundleRefused(RejectCode.FORBIDDEN_CODE, f"constants.pkl is not readable ({error})") from error
    if not isinstance(tensors, tuple) or not all(isinstance(tensor, ConstantTensor) for tensor in tensors):
        _refuse("constants.pkl holds more than tensors")
    return tensors


def format_constants(tensors: tuple[ConstantTensor, ...]) -> bytes:
    """Return constants.pkl for these tensors, in the one form that scan.py accepts."""
    return b"\x80\x02(" + b"".join(_format_tensor(tensor) for tensor in tensors) + b"t."


def _format_tensor(tensor: ConstantTensor) -> bytes:
    return b"".join(
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"),
            b"ctorch\n%b\n" % tensor.storage.encode(),
            _text(tensor.key),
            _text("cpu"),
            _integer(tensor.storage_count),
            b"tQ",
            _integer(tensor.offset),
            _integers(tensor.shape),
            _integers(tensor.strides),
            b"\x89ccollections\nOrderedDict\n)RtR",
        )
    )


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _integers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(_integer(value) for value in values) + b"t"


class _Named(Struct, frozen=True):
    name: str


class _ConstantsReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("collections", "OrderedDict"):
            return tuple
        if module == "torch" and name in STORAGE_BYTES:
            return _Named(name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, pid: Any) -> Any:
        kind, storage, key, device, count = pid
        if kind != "storage" or device != "cpu" or not isinstance(storage, _Named):
            raise pickle.UnpicklingError(f"{kind} on {device} is not allowed")
        if not (isinstance(key, str) and re.fullmatch(r"\d{1,6}", key)) or type(count) is not int:
            raise pickle.UnpicklingError(f"storage {key!r} of {count!r} elements is not allowed")
        return (storage.name, key, count)


def _rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any) -> ConstantTensor:
    name, key, count = storage
    numbers = (count, offset, *shape, *strides)
    if any(type(number) is not int or not 0 <= number < 2**31 for number in numbers) or len(shape) != len(strides):
        raise pickle.UnpicklingError(f"sizes {numbers} are not allowed")
    if requires_grad is not False or hooks != ():
        raise pickle.UnpicklingError("tensors with gradients or hooks are not allowed")
    return ConstantTensor(name, key, count, offset, tuple(shape), tuple(strides))


def _class_of(pickled: bytes) -> str:
    operations = [(code.name, argument) for code, argument, _ in pickletools.genops(pickled)]
    names = [str(argument) for name, argument in operations if name == "GLOBAL"]
    pushes = [argument for name, argument in operations if name.startswith("BIN") and name not in {"BINPUT", "BINGET"}]
    if len(names) != 1 or pushes:
        raise ExportFailed("the module keeps attributes", _FREEZE)
    return names[0]


_FREEZE = "export a traced module in eval mode whose forward uses tensors alone"


def _refuse(detail: str) -> NoReturn:
    raise BundleRefused(RejectCode.FORBIDDEN_CODE, f"policy.pt: {detail}")
