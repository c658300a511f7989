"""Finds pairs of layers to compare, by resolution and depth; how alike two layers see images."""
