"""Folders that several benchmarks need."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DEVICE = ROOT / "device" / "python"  # what a device process finds, and nothing else of the project
DEVICE_PYTHON = ROOT / ".venv" / "device" / "bin" / "python"  # without torch and onnx
