"""Evaluates finished mentees on a split: scores, the `mentee-evaluate` command, its tables."""
