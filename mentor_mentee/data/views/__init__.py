"""What a network is shown of a sample: its augmented views, in the size and normalisation of the network."""
