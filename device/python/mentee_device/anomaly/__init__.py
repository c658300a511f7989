"""What is normal for this owner, and what deviates from it, without training."""
