"""Decoded images in files on disk, for data that does not fit in memory: built once, read a batch at a time."""
