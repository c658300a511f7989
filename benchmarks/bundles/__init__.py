"""Bundles: which networks train on the device, the cost of each choice, the size of a bundle."""
