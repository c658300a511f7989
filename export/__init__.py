"""Exporter: a mentee checkpoint becomes a bundle, with its backward graph, loss and optimizer, and the proof that it trains."""
