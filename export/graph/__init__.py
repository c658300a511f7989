"""ONNX graphs: the mentee with its loss, its gradient and its optimizer as the device runs them."""
