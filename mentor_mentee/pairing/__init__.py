"""Finds pairs of layers to compare, by resolution and depth or by how alike they see images."""
