"""The command `mentee-device`."""
