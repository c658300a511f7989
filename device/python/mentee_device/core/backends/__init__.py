"""Runtimes that a mentee can learn on, behind one set of verbs, and the states that move between them."""
