"""Where a run's mentor comes from, how it is trained, and which of its layers are compared."""
