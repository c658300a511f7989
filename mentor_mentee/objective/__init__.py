"""The loss: labels, probes and softmax under α, β and γ; adapters between layers of different shape."""
