"""Anomalies: flags what deviates from what is normal for this owner, without training."""
