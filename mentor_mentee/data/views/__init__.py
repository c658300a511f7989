"""Views of samples: augmentation, and the size, channels and normalisation that a network takes."""
