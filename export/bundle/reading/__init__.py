"""Reads a bundle, and refuses one that is damaged, altered or not of this kind."""
