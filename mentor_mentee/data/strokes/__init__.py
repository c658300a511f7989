"""Pen strokes: drawings as a canvas takes them, their 28×28 image, and a generated data set of such images."""
