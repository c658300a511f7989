"""The guard: what a candidate must hold on the golden set to become current, and the rails of an answer."""
