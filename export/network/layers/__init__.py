"""Layers that go to the device as something plainer: no auxiliary heads, weights that are no formula, rows that are held."""
