"""What ships to a device: opened, checked before anything is parsed, and read."""
