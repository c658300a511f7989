"""How good finished mentees are on a split: scores, the `mentee-evaluate` command, its tables."""
