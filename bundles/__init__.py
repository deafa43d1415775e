"""All that must be equal in training and serving: signed policies, their features and their actions."""

from bundles.export import export_policy
from bundles.loader import TorchScriptPolicy, load_bundle

__all__ = ["TorchScriptPolicy", "export_policy", "load_bundle"]
