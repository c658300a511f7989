"""Names of the precisions that a mentor computes in, which are Lightning's. Imports no torch."""

FULL = "32-true"
HALF = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}  # autocast: the weights stay float32
PRECISIONS = (FULL, *HALF)
