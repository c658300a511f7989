"""The graphs of a bundle, for ONNX Runtime Training, for any ONNX Runtime, or both, and their weights, stored once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from export.bundle.prepare import OnDevice, Prepared
from export.graph.artifacts import copied, silenced
from export.graph.tracing import one_line
from export.graph.training_graph import Forward, cut_inference, forward_graph, tidied, traced, trained
from export.graph.weights import align_weights, make_nominal, share_weights
from export.network.batch_norm import running_statistics
from export.network.checks import batches_for, require_backward, require_independent
from export.network.dropout import add_masks
from export.schema import ExportSettings
from export.stock.assemble import StockGraphs, stock_graphs
from export.stock.files import STATE_FILE, write_stock
from export.stock.prepare import stock_forward
from export.trial.run import require_trains

TRAINING, STOCK = "ort-training", "stock"
INFERENCE = "inference.onnx"


@dataclass(frozen=True)
class Written:
    """Graphs that lie in a bundle's folder: `forward` is the one that ONNX Runtime Training learns with, `stock` are the other
    kind."""

    folder: Path
    forward: Forward | None
    stock: StockGraphs | None
    origins: dict[str, str]

    @property
    def backends(self) -> list[str]:
        """The folders of those there are, the first being the one that a bundle's parity report is about."""
        return [*([TRAINING] if self.forward else []), *([STOCK] if self.stock else [])]


def write_graphs(mentee: OnDevice, settings: ExportSettings, folder: Path) -> Written:
    """inference.onnx and what `settings.backend` asks for; a child process makes the training artifacts and takes steps."""
    both, network = settings.backend == "both", mentee.network
    with silenced():  # torch prints the whole graph where it cannot trace it; what it says is in the error
        model = traced(mentee.graph, mentee.inputs, mentee.outputs)
        stock = None
        if settings.backend != TRAINING:
            stock = stock_forward(mentee.graph, copied(model) if both else model, mentee.inputs, settings.rewrite)
        forward = None
        if settings.backend != STOCK:
            forward = forward_graph(mentee.graph, mentee.inputs, mentee.outputs, settings.rewrite, model)
    require_independent(network, mentee.shape)
    require_backward(network, mentee.shape)
    with one_line(network, "cutting out the inference graph"):
        whole = forward.model if forward else tidied(copied(stock.model), trained(mentee.graph))  # type: ignore[union-attr]
        onnx.save(cut_inference(whole), folder / INFERENCE)
    if forward is not None:
        (folder / TRAINING).mkdir()
        add_masks(forward.model)
        running = running_statistics(network)
        batches = batches_for(network, mentee.shape)
        about = (
            mentee.inputs,
            mentee.outputs,
            mentee.trainable,
            running,
            settings.optimizer,
            folder / TRAINING,
            batches,
        )
        require_trains(forward, *about)
    made = write_stock_graphs(mentee, stock.model, settings, folder / STOCK) if stock is not None else None
    found = dict(forward.origins if forward else stock.origins if stock else {})
    return Written(folder, forward, made, found)


def write_stock_graphs(mentee: OnDevice, model: onnx.ModelProto, settings: ExportSettings, folder: Path) -> StockGraphs:
    folder.mkdir()
    with one_line(mentee.network, "differentiating it"):
        made = stock_graphs(
            model,
            mentee.inputs,
            mentee.outputs,
            mentee.trainable,
            running_statistics(mentee.network),
            settings.optimizer,
        )
        write_stock(made, folder)
    return made


def store_once(written: Written, prepared: Prepared, settings: ExportSettings) -> dict[str, Any] | None:
    """Leaves each weight in one file of the bundle; the manifest's `checkpoint`, None where there is none."""
    folder, state = written.folder, written.folder / STOCK / STATE_FILE
    inference, training = folder / INFERENCE, folder / TRAINING
    if written.forward is None:
        share_weights(inference, state)
        return None
    weights, evaluation, stated = (
        training / "checkpoint",
        training / "eval_model.onnx",
        {"file": f"{TRAINING}/checkpoint"},
    )
    if settings.nominal_checkpoint or written.stock is not None:
        running = running_statistics(prepared.network)
        kept = state if written.stock is not None else None
        weights = make_nominal(written.forward.model, prepared.trainable, running, training, kept)
        stated["parameters"] = weights.relative_to(folder).as_posix()
    align_weights(evaluation)
    share_weights(training / "training_model.onnx", evaluation)
    share_weights(inference, weights, evaluation)
    return stated
