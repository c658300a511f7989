"""Layers and settings of torch.nn, each in a small network: which of them train on the device."""
