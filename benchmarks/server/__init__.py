"""What does a mentor cost on the server? Steps, epochs and memory beside those of a lone mentee."""
