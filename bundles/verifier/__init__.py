"""Runs a candidate in a process of its own, before anyone else does."""

from bundles.verifier.owner import Verifier, VerifierUnavailable

__all__ = ["Verifier", "VerifierUnavailable"]
