"""The database of an owner's folder: opened whole, mended, backed up, locked, and sealed under a key."""
