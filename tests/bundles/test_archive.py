import io
import warnings
import zipfile
from typing import Any

import pytest

from bundles import archive
from bundles.errors import BundleRefused, ExportFailed
from messages import RejectCode
from tests.bundles.samples import tiny_module


def saved(module: Any, *, freeze: bool = True) -> bytes:
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(module, torch.zeros((3, 4)), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(torch.jit.freeze(traced) if freeze else traced, buffer)
    return buffer.getvalue()


def test_the_same_module_gives_the_same_bytes() -> None:
    first, second = saved(tiny_module()), saved(tiny_module())
    assert first != second
    assert archive.canonical(first) == archive.canonical(second)


def test_a_module_that_is_not_frozen_is_refused() -> None:
    with pytest.raises(ExportFailed):
        archive.canonical(saved(tiny_module(), freeze=False))


def test_entries_survive() -> None:
    entries = {"b": b"2", "a": b""}
    assert archive.unpack(archive.pack(entries)) == entries


def compressed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("bomb", b"\0" * 10_000_000)
    return buffer.getvalue()


def doubled() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as opened:
        warnings.simplefilter("ignore")
        opened.writestr("a", b"1")
        opened.writestr("a", b"2")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"junk" * 100,
        compressed(),
        doubled(),
        archive.pack({"a": b"1"}) + b"tail",
        b"head" + archive.pack({"a": b"1"}),
        archive.pack({"a": b"1"})[:-1],
        archive.pack({"a": b"12345678"}).replace(b"12345678", b"12345679"),
    ],
    ids=["empty", "stub", "junk", "compressed", "doubled", "tail", "head", "cut", "crc"],
)
def test_any_other_archive_is_refused(content: bytes) -> None:
    with pytest.raises(BundleRefused) as caught:
        archive.unpack(content)
    assert caught.value.code is RejectCode.FORBIDDEN_CODE


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"cos\nsystem\n(X\x02\x00\x00\x00idtR.",
        b"\x80\x02cbuiltins\nopen\n.",
        b"\x80\x02(cposix\nsystem\nt.",
        b"\x80\x02]q\x00.",
        b"\x80\x02(K\x01t.",
        b"\x80\x02c__torch__\nPolicy\n)\x81.",
    ],
)
def test_constants_are_tensors_alone(pickled: bytes) -> None:
    with pytest.raises(BundleRefused):
        archive.parse_constants(pickled)


def test_constants_survive() -> None:
    tensors = (archive.ConstantTensor("FloatStorage", "0", 6, 1, (2, 2), (2, 1)),)
    assert archive.parse_constants(archive.format_constants(tensors)) == tensors
