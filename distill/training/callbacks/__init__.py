"""Beside the steps of a training: its history, its checkpoint, a line for the person waiting, the user's callbacks."""
