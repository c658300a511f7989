"""A whole state as one file that every client reads: its bytes, its record, and the way out of a store and into one."""
