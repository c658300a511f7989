"""Crashes: an owner's folder after the process was killed or the power went."""
