"""Versions of ONNX that every graph of a bundle is written in. Imports nothing, so that a process without torch can know them."""

OPSET = 18
IR_VERSION = 9  # the newest that ONNX Runtime 1.17 loads; 1.19.2, the last with training, takes 10
