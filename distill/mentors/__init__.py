"""Finds or trains a run's mentor, and chooses which of its layers are compared."""
