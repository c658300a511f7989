"""Seeded damage to bundles and to states: one number is one mutant."""
