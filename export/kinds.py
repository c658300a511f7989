"""Kinds of graphs that learn (`export.backends`): each is prepared, written and proved on its own, so that one may be left out.

Preflight and export go this way. A kind that fails keeps the reason (`Kind.trouble`), and no more is done with it.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from export.backends import AUTO, STOCK, TRAINING, training_missing, wanted
from export.graph.artifacts import copied
from export.graph.findings import Kind, Traced, refusal
from export.graph.optimizer_spec import Optimizer
from export.graph.tracing import one_line
from export.graph.training_graph import cut_inference, forward_graph, sample_shape, tidied
from export.network.batch_norm import running_statistics
from export.network.checks import batches_for
from export.network.dropout import add_masks
from export.parity.feeds import Samples
from export.parity.not_finite import reasons
from export.parity.verdict import in_words, require_conclusive, require_parity
from export.stock.assemble import StockGraphs, stock_graphs
from export.stock.files import write_stock
from export.stock.prepare import stock_forward
from export.trial.run import require_trains
from mentor_mentee.errors import UserError

INFERENCE = "inference.onnx"
Reports = dict[str, dict[str, Any]]
Measure = Callable[..., list[dict[str, Any]]]


def prepared_kinds(traced: Traced, model: onnx.ModelProto, backend: str, rewriting: str = "auto") -> list[Kind]:
    """The kinds that `backend` asks for, their forward graphs differentiable. `model`: what `traced()` gave, left as it is."""
    return [prepared_kind(traced, copied(model), name, rewriting) for name in wanted(backend)]


def prepared_kind(traced: Traced, model: onnx.ModelProto, name: str, rewriting: str) -> Kind:
    if name == TRAINING and (missing := training_missing()) is not None:
        return Kind(name, trouble=missing)
    kind = Kind(name)
    try:
        if name == STOCK:
            forward = stock_forward(traced.graph, model, traced.inputs, rewriting, kind.findings)
        else:
            forward = forward_graph(traced.graph, traced.inputs, traced.outputs, rewriting, model, kind.findings)
    except UserError as error:
        return kind.failed(error)
    return replace(kind, forward=forward)


def kept(kinds: Sequence[Kind], backend: str) -> list[Kind]:
    """`kinds`, if enough of them train: with `auto` one, else all. Raises `UserError` with the reasons of those that do not."""
    if not (any if backend == AUTO else all)(kind.trains for kind in kinds):
        raise refusal(kinds)
    return list(kinds)


def write_inference(traced: Traced, kinds: Sequence[Kind], folder: Path) -> str:
    """Writes inference.onnx, cut out of the first kind that trains; its backend."""
    first = next(kind for kind in kinds if kind.trains)
    assert first.forward is not None
    model = first.forward.model
    with one_line(traced.graph.student.mentee, "cutting out the inference graph"):
        whole = tidied(copied(model), traced.trainable) if first.backend == STOCK else model
        onnx.save(cut_inference(whole), folder / INFERENCE)
    return first.backend


def write_kinds(
    traced: Traced, kinds: Sequence[Kind], optimizer: Optimizer, folder: Path
) -> tuple[list[Kind], StockGraphs | None]:
    """Writes inference.onnx and a folder for each kind that trains; what fails is removed again. A child process makes the graphs
    for ONNX Runtime Training, and takes steps with them."""
    made, written, graphs = write_inference(traced, kinds, folder), list[Kind](), None
    for kind in kinds:
        if kind.trains:
            (folder / kind.backend).mkdir()
            try:
                if kind.backend == STOCK:
                    graphs = write_stock_kind(traced, kind, optimizer, folder / STOCK)
                else:
                    write_training_kind(traced, kind, optimizer, folder / TRAINING)
            except UserError as error:
                shutil.rmtree(folder / kind.backend)
                kind = kind.failed(error)
        written.append(kind)
    if any(kind.trains for kind in written) and not next(one for one in written if one.backend == made).trains:
        write_inference(traced, written, folder)
    return written, graphs


def write_training_kind(traced: Traced, kind: Kind, optimizer: Optimizer, folder: Path) -> None:
    assert kind.forward is not None
    network, shape = traced.graph.student.mentee, sample_shape(traced.inputs)
    add_masks(kind.forward.model)
    running, batches = running_statistics(network), batches_for(network, shape)
    about = (traced.inputs, traced.outputs, traced.trainable, running, optimizer, folder, batches)
    require_trains(kind.forward, *about)


def write_stock_kind(traced: Traced, kind: Kind, optimizer: Optimizer, folder: Path) -> StockGraphs:
    assert kind.forward is not None
    network = traced.graph.student.mentee
    with one_line(network, "differentiating it"):
        about = (traced.inputs, traced.outputs, traced.trainable, running_statistics(network), optimizer)
        made = stock_graphs(kind.forward.model, *about)
        write_stock(made, folder)
    return made


def prove_kinds(
    traced: Traced,
    kinds: Sequence[Kind],
    optimizer: Optimizer,
    folder: Path,
    samples: Samples,
    measure: Measure,
    *,
    outcome: str = "",
    conclusive: bool = False,
) -> tuple[list[Kind], Reports]:
    """Compares every kind that was written with torch by `measure`; the reports of those that prove. What does not is removed.

    `outcome`: what an error says became of it. `conclusive`: a proof that is silent about something is none.
    """
    reports = measured(traced, [kind for kind in kinds if kind.trains], optimizer, folder, samples, measure)
    proved, found = list[Kind](), Reports()
    for kind in kinds:
        if kind.trains:
            try:
                found[kind.backend] = judged(traced, kind, folder, samples, reports[kind.backend], outcome, conclusive)
                unproved = found[kind.backend]["inconclusive"]
                kind = replace(kind, inconclusive=in_words(unproved) if unproved else None)
            except UserError as error:
                shutil.rmtree(folder / kind.backend)
                kind = kind.failed(error)
        proved.append(kind)
    return proved, found


def measured(
    traced: Traced, kinds: Sequence[Kind], optimizer: Optimizer, folder: Path, samples: Samples, measure: Measure
) -> dict[str, dict[str, Any] | UserError]:
    """The report of each kind, or why there is none. All are compared at once, so that torch answers once; where that ends in an
    error, each is by itself, to know whose it is."""
    try:
        with one_line(traced.graph.student.mentee, "comparing the graph with torch"):
            folders = [folder / kind.backend for kind in kinds]
            found = measure(traced.graph, folders, folder / INFERENCE, samples, traced.outputs, optimizer)
            return dict(zip((kind.backend for kind in kinds), found, strict=True))
    except UserError as error:
        if len(kinds) == 1:
            return {kinds[0].backend: error}
        alone = [measured(traced, [kind], optimizer, folder, samples, measure) for kind in kinds]
        return {name: report for one in alone for name, report in one.items()}


def judged(
    traced: Traced,
    kind: Kind,
    folder: Path,
    samples: Samples,
    report: dict[str, Any] | UserError,
    outcome: str,
    conclusive: bool,
) -> dict[str, Any]:
    """`report`. Raises `UserError` where it is none, or of no proof."""
    if isinstance(report, UserError):
        raise report
    assert kind.forward is not None
    shape, origins = sample_shape(traced.inputs), kind.forward.origins
    why = partial(reasons, report, traced.graph, folder / kind.backend, shape, samples, origins)
    require_parity(report, why, outcome)
    if conclusive:
        require_conclusive(report)
    return report
