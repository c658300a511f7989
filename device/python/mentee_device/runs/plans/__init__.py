"""Options of a run and of a device: budgets, curves, plans and lasting settings, checked before anything starts."""
