"""The graphs of a bundle, for ONNX Runtime Training, for any ONNX Runtime, or both, and their weights, stored once."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from export.backends import AUTO, STOCK, TRAINING
from export.bundle.prepare import OnDevice, Prepared
from export.graph.artifacts import silenced
from export.graph.findings import Kind, Traced
from export.graph.training_graph import Forward, require_used, traced
from export.graph.weights import align_weights, make_nominal, share_weights
from export.kinds import INFERENCE, Reports, kept, prepared_kinds, prove_kinds, write_kinds
from export.network.batch_norm import running_statistics
from export.network.checks import require_backward, require_independent
from export.parity.check import measure_each
from export.parity.feeds import Samples
from export.schema import ExportSettings
from export.stock.assemble import StockGraphs
from export.stock.files import STATE_FILE


@dataclass(frozen=True)
class Written:
    """Graphs that lie in a bundle's folder. `stock`: those of that kind, whether it was left out later or not."""

    folder: Path
    traced: Traced
    kinds: list[Kind]
    stock: StockGraphs | None

    @property
    def backends(self) -> list[str]:
        """The folders of those there are, the first being the one that a bundle's parity report is about."""
        return [kind.backend for kind in self.kinds if kind.trains]

    @property
    def left_out(self) -> dict[str, str]:
        """Kinds that the mentee does not train with, with the reason."""
        return {kind.backend: kind.trouble for kind in self.kinds if kind.trouble is not None}

    @property
    def forward(self) -> Forward | None:
        """The forward graph that ONNX Runtime Training learns with."""
        return next((kind.forward for kind in self.kinds if kind.trains and kind.backend == TRAINING), None)

    @property
    def stock_graphs(self) -> StockGraphs | None:
        return self.stock if STOCK in self.backends else None


def write_graphs(mentee: OnDevice, settings: ExportSettings, folder: Path) -> Written:
    """inference.onnx and what `settings.backend` asks for. Raises `UserError` where that, or with `auto` every kind, cannot carry
    the mentee."""
    about = Traced(mentee.graph, mentee.inputs, mentee.outputs, mentee.trainable)
    with silenced():  # torch prints the whole graph where it cannot trace it; what it says is in the error
        model = traced(*about[:3])
        require_used(model, mentee.trainable)
        kinds = kept(prepared_kinds(about, model, settings.backend, settings.rewrite), settings.backend)
    require_independent(mentee.network, mentee.shape)
    require_backward(mentee.network, mentee.shape)
    kinds, stock = write_kinds(about, kinds, settings.optimizer, folder)
    return Written(folder, about, kept(kinds, settings.backend), stock)


def proved(written: Written, samples: Samples, settings: ExportSettings) -> tuple[Written, dict[str, Any]]:
    """`written` without what does not prove, and the parity report, of both kinds of graphs where there are both.

    Raises `UserError` where what `settings.backend` asks for, or with `auto` every kind, does not train as torch does.
    """
    outcome = "" if settings.backend == AUTO and len(written.backends) > 1 else "; no bundle was made"
    about = (written.traced, written.kinds, settings.optimizer, written.folder, samples, measure_each)
    kinds, reports = prove_kinds(*about, outcome=outcome, conclusive=settings.inconclusive == "refuse")
    left = replace(written, kinds=kept(kinds, settings.backend))
    return left, joined(reports)


def joined(reports: Reports) -> dict[str, Any]:
    """The first report, with the others in it. ONNX Runtime Training's alone has no `backend`, as in format 1."""
    if list(reports) == [TRAINING]:
        return reports[TRAINING]
    (first, report), *others = reports.items()
    more = {name.replace("-", "_"): {"backend": name, **other} for name, other in others}
    return {"backend": first, **report, **more}


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
    both = written.stock_graphs is not None
    if settings.nominal_checkpoint or both:
        running = running_statistics(prepared.network)
        weights = make_nominal(written.forward.model, prepared.trainable, running, training, state if both else None)
        stated["parameters"] = weights.relative_to(folder).as_posix()
    align_weights(evaluation)
    share_weights(training / "training_model.onnx", evaluation)
    share_weights(inference, weights, evaluation)
    return stated
