"""A fleet: many devices that learn together without their data, on Flower's Message API.

`client` runs on a device and needs neither torch nor onnx; `server` runs beside the SuperLink; `wire` is what both say;
`release` makes the round's result a new base bundle.
"""
