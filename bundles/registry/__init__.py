"""Where bundles are kept: on a disk or any store that fsspec reaches."""

from bundles.registry.registry import MAX_BUNDLE_BYTES, Registry, read_files

__all__ = ["MAX_BUNDLE_BYTES", "Registry", "read_files"]
