"""Classifiers of other packages by their name there, as recipes name them; each package is imported when one is asked for."""
