"""Proof that the shipped graphs compute what torch does: outputs, gradients, optimizer steps."""
