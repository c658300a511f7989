"""Shared by all packages: data, objective, pairing of layers, recipes, configuration, errors."""
