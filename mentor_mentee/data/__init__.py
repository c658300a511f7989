"""Data sets, label budgets, augmentation, and the views that networks have of images."""
