"""Stock graphs: forward, loss, backward and optimizer as ordinary ONNX operators, which any ONNX Runtime since 1.17 trains with.

`backward.py` differentiates the forward graph, operator by operator (rules/); `assemble.py` makes it three graphs on flat
vectors of parameters, moments and statistics (`export.graph.flat`); `optimizer.py` writes the step.
"""
