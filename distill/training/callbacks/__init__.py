"""What a training does beside its steps: its history, its checkpoint, a line for the person waiting, the user's callbacks."""
