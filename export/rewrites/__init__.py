"""Exact equals, in operators that have a gradient, of ONNX operators that ONNX Runtime Training cannot differentiate."""
