"""Weights of a mentor: found in a file or where they are published, and fitted to the network."""
