"""Bundles for tests: small good ones, and ones that are bad in a single way."""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bundles import archive
from bundles.actions import ActionMapping
from bundles.archive import ConstantTensor
from bundles.export import export_module
from bundles.manifest import MANIFEST_NAME, SIGNATURE_NAME, BundleFile, Manifest, decode_manifest, encode_manifest
from bundles.registry import read_files
from bundles.signing import SigningKey, sign

CREATED = 1_700_000_000_000_000_000
OBS = 4
LEVELS = ActionMapping(kind="levels", max_position=1.0)


def tiny_module(seed: int = 0, *, weight: float | None = None) -> Any:
    import torch

    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.network = torch.nn.Sequential(torch.nn.Linear(OBS, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
            if weight is not None:
                first: Any = self.network[0]
                torch.nn.init.constant_(first.weight, weight)

        def forward(self, obs: Any) -> Any:
            outputs = self.network(obs)
            return outputs.argmax(dim=1), outputs

    return Tiny().eval()


def export_sample(out_dir: Path, key: SigningKey | None, *, module: Any = None, **changes: Any) -> Path:
    facts: dict[str, Any] = {
        "strategy": "momentum",
        "instruments": ("AAA", "BBB"),
        "features": None,
        "actions": LEVELS,
        "sequence": 7,
        "created": CREATED,
        "run_name": "sample",
        "key": key,
    }
    facts.update(changes)
    return export_module(tiny_module() if module is None else module, out_dir=out_dir, obs_shape=(OBS,), **facts)


def sample_files(out_dir: Path, key: SigningKey | None, **changes: Any) -> dict[str, bytes]:
    return read_files(str(export_sample(out_dir, key, **changes)))


def resigned(
    files: Mapping[str, bytes], key: SigningKey, replace: Mapping[str, bytes] | None = None, **changes: Any
) -> dict[str, bytes]:
    """The files with some replaced, listed as they are now, with changed metadata, signed again."""
    changed = {**files, **(replace or {})}
    manifest = decode_manifest(files[MANIFEST_NAME])
    listed = {
        name: BundleFile(sha256=hashlib.sha256(changed[name]).hexdigest(), size=len(changed[name]))
        for name in manifest.files
    }
    manifest_bytes = encode_manifest(msgspec.structs.replace(manifest, **{"files": listed, **changes}))
    return {**changed, MANIFEST_NAME: manifest_bytes, SIGNATURE_NAME: sign(manifest_bytes, key)}


def manifest_of(files: Mapping[str, bytes]) -> Manifest:
    return decode_manifest(files[MANIFEST_NAME])


def write_all(directory: Path, files: Mapping[str, bytes]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def crafted_policy(lines: list[str], constants: Mapping[str, ConstantTensor] | None = None) -> bytes:
    """policy.pt in canonical form with this body of `forward`; constants are ones, whatever their shape."""
    code = (
        "class Policy(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
        "  def forward(self: __torch__.policy.Policy,\n    obs: Tensor) -> Tuple[Tensor, Tensor]:\n"
        + "".join(f"    {line}\n" for line in lines)
    )
    tensors = tuple((constants or {}).values())
    stored = {f"archive/constants/{tensor.key}": struct.pack("<f", 1.0) * tensor.storage_count for tensor in tensors}
    return archive.pack(
        {
            archive.DATA_NAME: archive.DATA_PICKLE,
            archive.CODE_NAME: code.encode(),
            **stored,
            archive.CONSTANTS_NAME: archive.format_constants(tensors),
            archive.VERSION_NAME: b"3\n",
            archive.BYTEORDER_NAME: b"little",
        }
    )


def endless_policy() -> bytes:
    """Hours of straight-line tensor maths out of one stored number."""
    wide = ConstantTensor("FloatStorage", "0", 1, 0, (3000, 3000), (0, 0))
    lines = ["_0 = torch.add(CONSTANTS.c0, torch.sum(obs))"]
    lines += [f"_{n} = torch.mul(torch.mm(_{n - 1}, _{n - 1}), 0.001)" for n in range(1, 2000)]
    lines += ["outputs = torch.linear(obs, torch.slice(torch.slice(_1999, 0, 0, 3), 1, 0, 4))"]
    return crafted_policy([*lines, "return (torch.argmax(outputs, 1), outputs)"], {"c0": wide})


def with_weights(policy: bytes, value: float) -> bytes:
    """policy.pt with every number of its first constant set to `value`."""
    entries = archive.unpack(policy)
    name = "archive/constants/0"
    entries[name] = np.full(len(entries[name]) // 4, value, np.float32).tobytes()
    return archive.pack(entries)
