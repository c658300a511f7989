"""Sides of the parity proof: torch, ONNX Runtime Training, and stock graphs on any ONNX Runtime."""
