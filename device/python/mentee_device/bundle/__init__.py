"""The bundle that ships to a device: opened, checked before anything is parsed, and read."""
