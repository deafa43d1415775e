"""TorchScript archives in one canonical form: the same graph gives the same bytes.

The form: a ZIP of stored entries in fixed order, one attribute-less class `__torch__.policy.Policy`, tensors as
constants, no debug files. `torch.jit.load` reads it; bundles/scan accepts nothing else.
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
_MAX_ENTRY_BYTES = 128
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
_TENSOR = re.compile(
    rb"ctorch\._utils\n_rebuild_tensor_v2\n\(\(X\x07\x00\x00\x00storagectorch\n(?P<storage>\w{1,20})\n"
    rb"X..\x00\x00(?P<key>\d{1,6})X\x03\x00\x00\x00cpuJ(?P<count>.{4})tQJ(?P<offset>.{4})"
    rb"\((?P<shape>(?:J.{4}){0,8})t\((?P<strides>(?:J.{4}){0,8})t\x89ccollections\nOrderedDict\n\)RtR",
    re.DOTALL,
)


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
            info.create_system, info.external_attr = 3, 0o600 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """Return the entries of a ZIP exactly as `pack` writes it.

    Nothing is decompressed, and what two ZIP readers might read differently is refused.
    Raises BundleRefused FORBIDDEN_CODE.
    """
    _check_end(archive)
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


def _check_end(archive: bytes) -> None:
    # zipfile makes an object of every entry that it finds listed: the list's size is judged before.
    end, before = archive[-22:], archive[-42:-38]
    listed_bytes = int.from_bytes(end[12:16], "little")
    if end[:4] != b"PK\x05\x06" or before == b"PK\x06\x07" or listed_bytes > _MAX_ENTRIES * _MAX_ENTRY_BYTES:
        _refuse("it is no archive, or its list of entries is too long")


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
    tensors = _read_constants(entries["constants.pkl"])
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


def parse_constants(content: bytes) -> tuple[ConstantTensor, ...]:
    """Return the tensors that a canonical constants.pkl describes; it is never unpickled.

    Raises BundleRefused FORBIDDEN_CODE for anything but what `format_constants` writes.
    """
    tensors = tuple(
        ConstantTensor(
            match["storage"].decode(),
            match["key"].decode(),
            _parse_integer(match["count"]),
            _parse_integer(match["offset"]),
            _parse_integers(match["shape"]),
            _parse_integers(match["strides"]),
        )
        for match in _TENSOR.finditer(content)
    )
    if any(tensor.storage not in STORAGE_BYTES for tensor in tensors) or format_constants(tensors) != content:
        _refuse("constants.pkl is not in canonical form")
    if any(number < 0 for tensor in tensors for number in (tensor.offset, *tensor.shape, *tensor.strides)) or any(
        len(tensor.shape) != len(tensor.strides) for tensor in tensors
    ):
        _refuse("constants.pkl holds impossible sizes")
    return tensors


def _parse_integer(packed: bytes) -> int:
    return int.from_bytes(packed, "little", signed=True)


def _parse_integers(packed: bytes) -> tuple[int, ...]:
    return tuple(_parse_integer(packed[at + 1 : at + 5]) for at in range(0, len(packed), 5))


def format_constants(tensors: tuple[ConstantTensor, ...]) -> bytes:
    """Return constants.pkl for these tensors, in the one form that bundles/scan accepts."""
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


class _ConstantsReader(pickle.Unpickler):
    # Reads what torch.jit.save has just written in this process, never a bundle's bytes.
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return tuple
        return name

    def persistent_load(self, pid: Any) -> Any:
        _, storage, key, _, count = pid
        return storage, key, count


def _rebuild(stored: tuple[str, str, int], offset: int, shape: Any, strides: Any, *_: Any) -> ConstantTensor:
    storage, key, count = stored
    return ConstantTensor(storage, key, count, offset, shape, strides)


def _read_constants(pickled: bytes) -> tuple[ConstantTensor, ...]:
    try:
        return parse_constants(format_constants(_ConstantsReader(io.BytesIO(pickled)).load()))
    except (BundleRefused, pickle.UnpicklingError, AttributeError, TypeError, ValueError, struct.error) as error:
        raise ExportFailed(f"the module keeps more than plain tensors ({error})", _FREEZE) from error


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
