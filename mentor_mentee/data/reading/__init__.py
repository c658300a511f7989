"""Reads files of arrays and folders of images, and refuses what is wrong in them before any training."""
