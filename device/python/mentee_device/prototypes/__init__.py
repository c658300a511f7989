"""Classes by example: recognised by their embedding, without training."""
