"""Gradients of a small network by stock graphs, beside torch's in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from export.graph.artifacts import silenced
from export.graph.optimizer_spec import Optimizer
from export.graph.ports import input_ports, output_ports
from export.graph.training_graph import TrainingGraph, traced
from export.network.batch_norm import running_statistics
from export.parity.feeds import Feed, Samples, draw
from export.stock.assemble import StockGraphs, stock_graphs
from export.stock.prepare import stock_forward
from mentor_mentee.objective.probes import ProbedMentee

CLASSES = 4


class Stock:
    """`network` of a layer `head`, as stock graphs."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...], optimizer: Optimizer | None = None) -> None:
        self.graph = TrainingGraph(ProbedMentee(network, (), "head").eval())
        self.shape = shape
        with torch.no_grad():
            width = self.graph.student(torch.zeros(2, *shape)).embedding.shape[1]
        inputs, outputs = input_ports(shape, CLASSES, ()), output_ports(CLASSES, width, ())
        names = [name for name, value in network.named_parameters() if value.requires_grad]
        with silenced():
            forward = stock_forward(self.graph, traced(self.graph, inputs, outputs), inputs)
        spec = optimizer or Optimizer()
        self.made: StockGraphs = stock_graphs(forward.model, inputs, outputs, names, running_statistics(network), spec)
        onnx.checker.check_model(self.made.gradients, full_check=True)
        self.session = onnxruntime.InferenceSession(
            self.made.gradients.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def feed(self, input: Tensor) -> Feed:
        answers = torch.randn(len(input), CLASSES, generator=torch.Generator().manual_seed(1))
        return draw(Samples(input, answers, {}), ["mixed"], len(input))[0]._replace(input=input)

    def run(self, feed: Feed, **more: Any) -> dict[str, Any]:
        state = {name: value for name, value in self.made.state.items() if value.size}
        every = {**state, **{name: value.numpy() for name, value in feed.named().items()}, **more}
        names = [port.name for port in self.session.get_outputs()]
        given = {port.name: every[port.name] for port in self.session.get_inputs()}
        return dict(zip(names, self.session.run(names, given), strict=True))

    def gradients(self, feed: Feed, **more: Any) -> dict[str, np.ndarray[Any, Any]]:
        return self.made.parameters.apart(self.run(feed, **more)["gradient"])


Make = Callable[..., Stock]
