"""From a trained model to a bundle that provably acts like it."""

from bundles.export.policy import BundleFacts, export_module, export_policy

__all__ = ["BundleFacts", "export_module", "export_policy"]
