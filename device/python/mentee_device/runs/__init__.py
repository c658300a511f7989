"""Runs of learning: the plan, its steps, who answers the replayed samples, and the guard that decides."""
