"""Search for the operator whose gradient is not finite in the training graph though torch's gradients are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from export.graph.gradients.zeros import gradient_of
from export.graph.tracing import one_line
from export.graph.training_graph import TrainingGraph, origin_of
from export.network.stops import stops_in_words
from export.parity.backends.opened import is_stock
from export.parity.backends.reference import Reference
from export.parity.backends.training import Backend, session_options
from export.parity.check import feeds_of
from export.parity.feeds import Feed, Samples

# inputs of a training graph beside its own and the parameters
RESET, BUFFER = "lazy_reset_grad", "_grad.accumulation.buffer"


def reasons(
    report: Mapping[str, Any],
    graph: TrainingGraph,
    folder: Path,
    shape: Sequence[int],
    samples: Samples,
    origins: Mapping[str, str],
) -> str:
    """Why a graph does not train as torch does, as far as that is known: a sentence each."""
    with one_line(graph.student.mentee, "looking for what is not finite"):
        lost = not_finite_in_words(report, graph, folder, samples, origins)
    return stops_in_words(graph.student.mentee, shape) + lost


def not_finite_in_words(
    report: Mapping[str, Any], graph: TrainingGraph, folder: Path, samples: Samples, origins: Mapping[str, str]
) -> str:
    """A sentence that names the operator, with its module, where `report` has a gradient that is NaN; empty where it has none."""
    if np.isfinite(list(report["gradients"].values())).all():
        return ""
    feeds = feeds_of(graph, samples)
    if not finite_in_torch(graph, feeds):
        return (
            f"{type(graph.student.mentee).__name__} has gradients that are not finite in torch itself, as of a root, a power, a "
            "logarithm or a quotient at 0, also behind a torch.where that leaves it out: keep what is given to it away from 0, "
            "as by x.clamp(min=1e-6); "
        )
    node = first_not_finite(folder, feeds)
    place = origin_of(node, origins) if node is not None else None
    return (
        f"{place or 'an operator of the mentee'} has a gradient that is not finite in the graph where torch's is, as a root has "
        "at 0: add a small number inside, as (x + 1e-6).sqrt(), or freeze every parameter before it; "
    )


def finite_in_torch(graph: TrainingGraph, feeds: Sequence[Feed]) -> bool:
    reference = Reference(graph)
    for feed in feeds:
        reference.backward(feed)
    return all(bool(torch.isfinite(gradient).all()) for gradient in reference.take_gradients().values())


def first_not_finite(folder: Path, feeds: Sequence[Feed]) -> str | None:
    """The forward node whose gradient is the first that is not finite, in the order in which they are computed. None where it
    is not known: nodes of stock graphs do not say whose gradient they are."""
    if is_stock(folder):
        return None
    import onnxruntime

    model = onnx.load(folder / "training_model.onnx")
    of: dict[str, str] = {
        name: forward
        for node in model.graph.node
        for name in node.output
        if name and (forward := gradient_of(node)) is not None
    }
    stated = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in of if name not in stated)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )
    names, state = [port.name for port in session.get_inputs()], Backend(folder).state
    for feed in feeds:
        given: dict[str, NDArray[Any]] = {RESET: np.array([True])}
        given |= {name: value.numpy() for name, value in zip(names, feed.flat(), strict=False)}
        given |= {
            name: np.array(state.parameters[name.removesuffix(BUFFER)].data) for name in names if name not in given
        }
        for (_, forward), value in zip(of.items(), session.run(list(of), given), strict=True):
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                return forward
    return None
