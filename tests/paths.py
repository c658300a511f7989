"""Folders that tests of several rooms need."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DEVICE = ROOT / "device" / "python"  # what a device process finds, and nothing else of the project
