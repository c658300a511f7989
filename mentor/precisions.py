"""Names of the precisions that a mentor computes in, which are Lightning's. Imports no torch."""

AUTO = "auto"
FULL = "32-true"
BF16 = "bf16-mixed"
HALF = {BF16: "bfloat16", "16-mixed": "float16"}  # autocast: the weights stay float32
PRECISIONS = (FULL, *HALF)
