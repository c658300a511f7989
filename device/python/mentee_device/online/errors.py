"""Failures of asking: those that pass by themselves, and those that somebody must do something about."""


class AskError(ValueError):
    """The service cannot be asked this way; one line. What waits goes on waiting."""


class NotNow(AskError):
    """It may be asked later: `after` seconds, where the service said so."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class NotTaken(AskError):
    """The service refuses these samples for what they are (`too_many`: for how many they are)."""

    def __init__(self, why: str, too_many: bool = False) -> None:
        super().__init__(why)
        self.too_many = too_many
