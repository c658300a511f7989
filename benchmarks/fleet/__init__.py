"""Fleets measured: how much many devices learn together, and in how many bytes."""
