"""Distillation for a script: networks, data and a Trainer of the user's own, without Hydra."""
