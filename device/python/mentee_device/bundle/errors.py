"""The error that says why a bundle is refused."""


class BundleError(ValueError):
    """A bundle that must not be used; one line saying what, where, what was expected and what to do."""
