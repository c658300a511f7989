"""Personalisation: the gain of a new owner by learning on the device, and the loss of everybody else."""
