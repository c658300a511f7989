"""Bundles: what is in one, how it is written whole or not at all, read with every check, shown and verified."""
