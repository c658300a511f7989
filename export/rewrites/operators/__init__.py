"""Rewrite rules by kind of operator: each writes the nodes that compute the same and have a gradient."""
