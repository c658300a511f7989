"""Imports and registries that every child needs, loaded once: this takes seconds, and each child is forked from its end."""

import gc
from functools import cache

import torch
from onnxruntime.training import artifacts  # noqa: F401
from torch._export import utils
from torch.onnx._internal.exporter._registration import ONNXRegistry

from export.preflight import preflight
from mentee.networks import PlainCNN

torch.set_num_threads(1)
# torch makes its table of operators anew in every export: a quarter of what a small one takes; and looks through all of them for
# composite ones sixty times: another tenth
ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]
utils._materialize_cpp_cia_ops = cache(utils._materialize_cpp_cia_ops)
preflight(
    PlainCNN(1, 2, [2, 2], batch_norm=False).eval(), (1, 8, 8)
)  # imports what an export imports; it differentiates nothing
gc.collect()
gc.freeze()  # what lives as long as the process is not looked through again: a twenty-fifth of an export
