"""Labels for the owner's unlabelled samples, guessed and marked as guesses."""
