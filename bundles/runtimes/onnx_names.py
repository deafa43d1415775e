"""What the inputs and outputs of policy.onnx are called."""

OBSERVATION = "obs"
ACTION = "action"
OUTPUTS = "outputs"
BATCH = "batch"
