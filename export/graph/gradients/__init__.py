"""Repairs of the gradients that ONNX Runtime Training writes."""
