"""Loads a bundle and serves it with what is installed, and says what is not. Run as a script: BUNDLE TRUST COUNT."""

import importlib.util
import json
import sys
from pathlib import Path

EXTRAS = ("gymnasium", "matplotlib", "onnx", "onnxruntime", "pyarrow", "pytest", "s3fs", "stable_baselines3")
OBSERVATIONS_SEED = 5


def main(bundle: str, trust: str, count: str) -> None:
    import numpy as np

    import bundles

    policy = bundles.TorchScriptPolicy.load_bundle(bundle, trust)
    size = policy.manifest.obs_shape[0]
    observations = np.random.default_rng(OBSERVATIONS_SEED).normal(size=(int(count), size)).astype(np.float32)
    answer = {
        "actions": [policy.predict(observation)[0] for observation in observations],
        "installed": [name for name in EXTRAS if importlib.util.find_spec(name) is not None],
        "package": str(Path(bundles.__file__).parent),
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
