"""Errors that either side says in one line."""


class FleetError(Exception):
    """A round that must not go on: what was wrong, where, what was expected, what to do."""


class TooFewDevices(FleetError):
    """A round waited in vain for devices."""
