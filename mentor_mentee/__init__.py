"""What the packages share: data, objective, pairing of layers, recipes, configuration, errors."""
