"""The backend on ONNX Runtime Training 1.19.2: its Module, Optimizer and checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.backends import ORT_TRAINING, OrtTraining
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.inputs import Batch
from mentee_device.bundle.parts import Graph
from mentee_device.core import runtime
from mentee_device.core.backends import checkpoint as checkpoints
from mentee_device.core.backends.backend import GROWTH, LARGEST_GRADIENT, NOT_FINITE, Outputs
from mentee_device.core.backends.stock import read_vectors
from mentee_device.core.backends.values import Values, apart, shapes_of
from mentee_device.core.batch import unanswered
from mentee_device.core.private_file import private_file
from mentee_device.files import replacing

NO_ROOM = "{}; is there memory, and space in the temporary folder?"


class TrainingSession:
    """The training, eval and optimizer graphs of `bundle` on the parameters of a checkpoint, by default the bundle's own. Raises
    BundleError, RuntimeMissing."""

    name = ORT_TRAINING

    def __init__(self, bundle: Bundle, threads: int, checkpoint: Path | None = None) -> None:
        graphs = bundle.manifest.ort_training
        assert graphs is not None, "the bundle has none; see choose.py"
        self._bundle = bundle
        api = runtime.training()
        self._api = api
        options = runtime.session_options(threads)
        try:
            self._checkpoint = api.CheckpointState.load_checkpoint(str(checkpoint or bundle.path(graphs.checkpoint)))
            self._module = api.Module(
                str(bundle.path(graphs.training.file)),
                self._checkpoint,
                str(bundle.path(graphs.evaluation.file)),
                session_options=options,
            )
            if graphs.weights is not None and checkpoint is None:
                self._fill(bundle.path(graphs.weights), graphs)
            self._optimizer = api.Optimizer(str(bundle.path(graphs.optimizer.file)), self._module)
        except RuntimeError as error:  # ONNX Runtime raises nothing more precise
            raise BundleError(f"ONNX Runtime cannot open the bundle: {_first_line(error)}") from error
        for name, graph in (("training", graphs.training), ("eval", graphs.evaluation)):
            self._module.train(name == "training")
            for kind, stated, real in (
                ("inputs", graph.inputs, self._module.input_names()),
                ("outputs", graph.outputs, self._module.output_names()),
            ):
                if list(stated) != list(real):  # feeds go by position: a difference would swap α and β in silence
                    raise BundleError(
                        f"graphs.{name}.{kind} of the manifest are {list(stated)}, the graph has {list(real)}"
                    )
        self._parameters = [self._checkpoint.parameters[name] for name, _ in self._checkpoint.parameters]
        # what learns without a gradient: BatchNorm's running statistics, which a pass of the training graph moves
        self._running = [parameter for parameter in self._parameters if not parameter.requires_grad]
        self._before: list[NDArray[np.float32]] = []
        if (wrong := self.not_finite()) is not None:
            raise BundleError(NOT_FINITE.format(wrong))
        self._trusted = self._largest
        self._shapes = shapes_of(bundle.manifest.stock)
        self._dropout = bundle.manifest.dropout == "on"
        self._training, self._evaluation = graphs.training, graphs.evaluation
        self._rate_scale = bundle.manifest.optimizer_step.rate_scale
        self._accumulate, self._collected = bundle.manifest.optimizer_step.accumulate, 0

    def not_finite(self) -> str | None:
        largest = [float(np.abs(parameter.data).max(initial=0)) for parameter in self._parameters]
        self._largest = max(largest, default=0.0)
        wrong = (one.name for one, value in zip(self._parameters, largest, strict=True) if not value < np.inf)
        return next(wrong, None)

    @property
    def trusted(self) -> bool:
        return self._largest <= GROWTH * self._trusted

    def trust(self) -> None:
        self._trusted = self._largest

    def _fill(self, weights: Path, graphs: OrtTraining) -> None:
        """A nominal checkpoint from `weights`: the state of stock graphs, or little-endian float32 in the order of the training
        graph's parameters."""
        stock = self._bundle.manifest.stock
        if stock is not None and graphs.weights == stock.state:
            stored = read_vectors(weights, stock)
            parts = apart(stock.parameters, stored["parameters"]) | apart(stock.statistics, stored["statistics"])
            flat = np.concatenate([parts[name].reshape(-1) for name in graphs.order])
        else:
            flat = np.fromfile(weights, "<f4").astype(np.float32)
        expected = self._module.get_parameters_size(trainable_only=False)
        if len(flat) != expected:
            raise BundleError(
                f"{weights.name!r} holds {len(flat)} parameters, expected {expected}: make the bundle again"
            )
        buffer = runtime.tensor(flat)  # named: ONNX Runtime reads it without keeping it alive
        self._module.copy_buffer_to_parameters(buffer._ortvalue, trainable_only=False)

    def forward(self, batch: Batch) -> Outputs:
        self._module.eval()
        return self._call(self._evaluation, batch)

    def evaluate(self, batch: Batch) -> Outputs:
        return self.forward(batch)

    def _call(self, graph: Graph, batch: Batch) -> Outputs:
        feeds = batch.feeds()
        outputs = self._module(*(feeds[name] for name in graph.inputs))
        return dict(zip(graph.outputs, outputs, strict=True))

    def forward_backward(self, batch: Batch, step: int = 0) -> Outputs:
        self._before = [np.array(parameter.data) for parameter in self._running]
        if self._dropout:
            runtime.seed(step)
        self._module.train()
        if self._accumulate == 1:
            return self._call(self._training, batch)
        share = np.float32(1 / self._accumulate)  # so that the sum over the batches of a step is their mean
        outputs = self._call(self._training, batch.scaled(share))
        return outputs | {"loss": outputs["loss"] * np.float32(self._accumulate)}

    def gradients_usable(self) -> bool:
        trainable = (parameter for parameter in self._parameters if parameter.requires_grad)
        return all(bool(np.abs(parameter.grad).max(initial=0) < LARGEST_GRADIENT) for parameter in trainable)

    def apply(self) -> None:
        self._before = []
        self._collected += 1
        if self._collected == self._accumulate:
            self._optimizer.step()
            self._module.lazy_reset_grad()
            self._collected = 0

    @property
    def collecting(self) -> bool:
        return self._collected > 0

    def end_collecting(self) -> None:
        if self.collecting:
            self._optimizer.step()
            self._module.lazy_reset_grad()
            self._collected = 0

    def discard(self) -> None:
        self._collected = 0
        if self._before:
            for parameter, value in zip(self._running, self._before, strict=True):
                parameter.data = value
        self._before = []
        self._module.lazy_reset_grad()

    @property
    def learning_rate(self) -> float:
        return float(self._optimizer.get_learning_rate()) * self._rate_scale

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._optimizer.set_learning_rate(value / self._rate_scale)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        values = {parameter.name: np.array(parameter.data) for parameter in self._parameters}
        return {name: value.reshape(self._shapes.get(name, value.shape)) for name, value in values.items()}

    def set_parameters(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        known = {parameter.name: parameter for parameter in self._parameters}
        for name, value in values.items():
            stored = np.shape(known[name].data)
            if value.shape != (expected := self._shapes.get(name, stored)):
                raise ValueError(f"{name} has shape {list(expected)}, not {list(value.shape)}")
            known[name].data = np.ascontiguousarray(value, np.float32).reshape(stored)
        self.not_finite()  # what it measures decides whether the next step looks ahead

    def export_inference(self, path: Path) -> None:
        with replacing(path) as new:
            try:
                self._module.export_model_for_inferencing(str(new), ["logits", "embedding"])
            except RuntimeError as error:
                raise OSError(f"ONNX Runtime cannot write it: {_first_line(error)}") from error

    def dump(self) -> bytes:
        with private_file() as path:
            self._api.CheckpointState.save_checkpoint(self._checkpoint, str(path), include_optimizer_state=True)
            return path.read_bytes()


def resumed(bundle: Bundle, threads: int, dump: bytes) -> TrainingSession:
    """A session on the bytes of `TrainingSession.dump`. Raises BundleError."""
    try:
        with private_file() as path:
            path.write_bytes(dump)
            return TrainingSession(bundle, threads, path)
    except OSError as error:
        raise BundleError(f"the checkpoint cannot be read: {NO_ROOM.format(error)}") from error


def resumed_from_elsewhere(bundle: Bundle, threads: int, values: Values) -> TrainingSession:
    """A session on what another backend wrote. ONNX Runtime sets neither moments nor step, so they are written into a checkpoint
    of its own. Raises BundleError."""
    template = TrainingSession(bundle, threads)
    if values.step:  # a checkpoint of step 0 has no place for another
        shape = bundle.manifest.preprocessing.shape
        template.forward_backward(
            unanswered(bundle.manifest, np.zeros((2, *shape), bundle.manifest.preprocessing.dtype))
        )
        template.apply()
        template.end_collecting()
    return resumed(bundle, threads, checkpoints.filled(template.dump(), values))


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
