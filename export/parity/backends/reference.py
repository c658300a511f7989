"""torch's side of the proof: its module and its optimizer, in float64 or as they are."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from export.graph.optimizer_spec import Optimizer, assign
from export.graph.training_graph import TrainingGraph
from export.network.batch_norm import learning_mode, running_statistics
from export.network.dropout import drop_nothing
from export.parity.double import in_double
from export.parity.feeds import Feed, as_double

SHAKES = 32
SHAKEN = (2.0**-22, 2.0**-23)  # relative, as float32's rounding over a layer's sums
NEARBY = 8


class Reference:
    """torch's side: a copy of the graph in float64, or as it is, doing what the training graph does."""

    def __init__(self, graph: TrainingGraph, dtype: torch.dtype = torch.float64) -> None:
        self.graph = copy.deepcopy(graph).to(dtype)
        self.dtype = dtype
        drop_nothing(self.graph)
        self.parameters = {
            name: parameter
            for name, parameter in self.graph.student.mentee.named_parameters()
            if parameter.requires_grad
        }

    def __call__(self, feed: Feed, learning: bool = True) -> tuple[Tensor, ...]:
        """The outputs. The mode is set anew each time: some networks keep what they computed of their weights until it is, as
        LeViT its attention biases."""
        outputs: tuple[Tensor, ...]
        if learning:
            learning_mode(self.graph)
        else:
            self.graph.eval()
        if self.dtype != torch.float64:
            outputs = self.graph(*feed.flat())
            return outputs
        given = feed.map(as_double)
        with in_double():
            outputs = self.graph(*given.flat())
        return outputs

    def evaluated(self, feed: Feed) -> tuple[Tensor, ...]:
        """The outputs in eval mode, which differ where BatchNorm takes the batch's statistics."""
        with torch.no_grad():
            return self(feed, learning=False)

    def inferred(self, samples: Tensor) -> dict[str, Tensor]:
        """Logits and embedding, in eval mode, as inference.onnx has them."""
        probed = self.graph.eval().student
        with torch.no_grad(), in_double() if self.dtype == torch.float64 else nullcontext():
            outputs = probed(samples.to(self.dtype))
        return {"logits": outputs.logits, "embedding": outputs.embedding}

    def backward(self, feed: Feed) -> tuple[Tensor, ...]:
        """The outputs; adds to the gradients."""
        outputs = self(feed)
        outputs[0].sum().backward()  # type: ignore[no-untyped-call]
        return tuple(output.detach() for output in outputs)

    def take_gradients(self) -> dict[str, Tensor]:
        """The gradients, which begin anew; 0 where a parameter took no part."""
        taken = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for name, parameter in self.parameters.items()
        }
        self.graph.zero_grad()
        return taken

    def shaken(self, feeds: Sequence[Feed], factor: float = 1.0) -> Iterator[dict[str, Tensor]]:
        """`factor` times the gradients on all of `feeds`, at weights that float32 hardly tells from these, others each time.

        Near a kink, such as 1e-8 before a ReLU, rounding decides which way a runtime goes: its gradient is then that of such
        weights. Leaves the reference as it was.
        """
        random = torch.Generator().manual_seed(6)
        held = [(value, value.detach().clone()) for value in (*self.graph.parameters(), *self.graph.buffers())]
        for number in range(SHAKES):
            for parameter in self.graph.parameters():
                noise = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
                parameter.data = parameter.data * (1 + SHAKEN[number % len(SHAKEN)] * noise)
            for feed in feeds:
                self.backward(feed)
            for value, before in held:
                value.data = before.clone()
            yield {name: factor * gradient for name, gradient in self.take_gradients().items()}

    def running(self) -> dict[str, Tensor]:
        mentee = self.graph.student.mentee
        return {name: mentee.get_buffer(name) for name in running_statistics(mentee)}


class TorchOptimizer:
    """Builds torch.optim as `spec` says: clip_grad_norm_, then AdamW or SGD over groups, its rate by the schedule."""

    def __init__(self, spec: Optimizer, parameters: Mapping[str, nn.Parameter]) -> None:
        self.spec, self.parameters, self.taken = spec, parameters, 0
        self.members = assign(spec, list(parameters))
        groups = [
            {"params": [parameters[name] for name in group.names], "weight_decay": group.weight_decay}
            for group in self.members
        ]
        self.optimizer: torch.optim.Optimizer
        if spec.name == "adamw":
            first, second = spec.betas
            self.optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(first, second), eps=spec.epsilon)
        else:
            self.optimizer = torch.optim.SGD(groups, lr=1.0, momentum=spec.momentum, nesterov=spec.nesterov)

    def step(self, gradients: Mapping[str, Tensor], rate: float) -> None:
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name].to_dense().clone()  # nn.functional.embedding has sparse=True
        if self.spec.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.spec.clip_norm)
        for group, members in zip(self.optimizer.param_groups, self.members, strict=True):
            group["lr"] = rate * members.factor * self.spec.schedule.at(self.taken)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.taken += 1

    def skip(self, steps: int) -> None:
        """Counts `steps` as taken, without touching moments."""
        self.taken += steps
        for state in self.optimizer.state.values():
            if "step" in state:
                state["step"] += steps


def at_weights_nearby(*sides: Reference) -> Iterator[None]:
    """Yields `NEARBY` times, all sides at the same weights, which float32 hardly tells from theirs; leaves them as they were."""
    random = torch.Generator().manual_seed(7)
    held = [
        (value, value.detach().clone()) for side in sides for value in (*side.graph.parameters(), *side.graph.buffers())
    ]
    for number in range(NEARBY):
        for same in zip(*(side.graph.parameters() for side in sides), strict=True):
            noise = torch.randn(same[0].shape, generator=random)
            near = same[0].detach().float() * (1 + SHAKEN[number % len(SHAKEN)] * noise)
            for parameter in same:
                parameter.data = near.to(parameter.dtype)
        yield
        for value, before in held:
            value.data = before.clone()


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, so that the same export has the same bytes whatever ran in the process before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
