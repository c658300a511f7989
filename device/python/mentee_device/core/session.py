"""One live training session of ONNX Runtime: parameters, gradients and moments, behind the five verbs that are needed.

A gradient step has two halves here, so that a loss can be looked at before it changes anything: `forward_backward`
computes, then either `apply` moves the parameters or `discard` drops the gradients.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.inputs import Batch
from mentee_device.bundle.parts import Graph
from mentee_device.core import runtime
from mentee_device.core.private_file import private_file
from mentee_device.files import replacing

NO_ROOM = "{}; is there memory, and space in the temporary folder?"
LARGEST_GRADIENT = 1e18  # its square must fit float32, or AdamW's second moment is Inf for good
GROWTH = 1.25  # of the largest parameter, after which a forward shows whether the graph still computes finite numbers


class TrainingSession:
    """The training, eval and optimizer graphs of `bundle` on the parameters of a checkpoint. Raises BundleError."""

    def __init__(self, bundle: Bundle, checkpoint: Path, threads: int) -> None:
        graphs = bundle.manifest
        api = runtime.load()
        self._api = api
        options = runtime.session_options(threads)
        try:
            self._checkpoint = api.CheckpointState.load_checkpoint(str(checkpoint))
            self._module = api.Module(
                str(bundle.path(graphs.training.file)),
                self._checkpoint,
                str(bundle.path(graphs.evaluation.file)),
                session_options=options,
            )
            if graphs.weights is not None and checkpoint == bundle.path(graphs.checkpoint):
                self._fill(bundle.path(graphs.weights))
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
            raise BundleError(f"parameter {wrong!r} holds NaN or Inf: refused, the runtime's pooling may not see one")
        self._trusted = self._largest
        self._dropout = graphs.dropout == "on"
        self._training, self._evaluation = graphs.training, graphs.evaluation
        self._rate_scale = graphs.optimizer_step.rate_scale
        self._accumulate, self._collected = graphs.optimizer_step.accumulate, 0

    def not_finite(self) -> str | None:
        """The first parameter or running statistic that holds NaN or Inf; None where all are finite."""
        largest = [float(np.abs(parameter.data).max(initial=0)) for parameter in self._parameters]
        self._largest = max(largest, default=0.0)
        wrong = (one.name for one, value in zip(self._parameters, largest, strict=True) if not value < np.inf)
        return next(wrong, None)

    @property
    def trusted(self) -> bool:
        """Whether a forward was finite with parameters of about this size. A training graph must not be run where it is not:
        on a window of NaN the runtime's MaxPool gives an index of −5, and its gradient writes there."""
        return self._largest <= GROWTH * self._trusted

    def trust(self) -> None:
        """Says that a forward with the parameters at hand was finite."""
        self._trusted = self._largest

    def _fill(self, weights: Path) -> None:
        """A nominal checkpoint from `weights`, little-endian float32 in the order of the training graph's parameters."""
        flat = np.fromfile(weights, "<f4").astype(np.float32)
        expected = self._module.get_parameters_size(trainable_only=False)
        if len(flat) != expected:
            raise BundleError(
                f"{weights.name!r} holds {len(flat)} parameters, expected {expected}: make the bundle again"
            )
        buffer = runtime.tensor(flat)  # named: ONNX Runtime reads it without keeping it alive
        self._module.copy_buffer_to_parameters(buffer._ortvalue, trainable_only=False)

    def forward(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Outputs by name of the eval graph; changes nothing."""
        self._module.eval()
        return self._call(self._evaluation, batch)

    def _call(self, graph: Graph, batch: Batch) -> dict[str, NDArray[np.float32]]:
        feeds = batch.feeds()
        outputs = self._module(*(feeds[name] for name in graph.inputs))
        return dict(zip(graph.outputs, outputs, strict=True))

    def forward_backward(self, batch: Batch, step: int = 0) -> dict[str, NDArray[np.float32]]:
        """Outputs by name of the training graph; adds to the gradients that `apply` or `discard` end. `step` is what Dropout's
        masks depend on, so that a state that is resumed draws those it would have drawn."""
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
        """Whether every gradient is finite and small enough to square."""
        trainable = (parameter for parameter in self._parameters if parameter.requires_grad)
        return all(bool(np.abs(parameter.grad).max(initial=0) < LARGEST_GRADIENT) for parameter in trainable)

    def apply(self) -> None:
        """One step of the optimizer, or where the bundle accumulates one with every so many calls: the others keep the
        gradients for it, which are in no `dump`."""
        self._before = []
        self._collected += 1
        if self._collected == self._accumulate:
            self._optimizer.step()
            self._module.lazy_reset_grad()
            self._collected = 0

    @property
    def collecting(self) -> bool:
        """Whether gradients wait for the rest of their step."""
        return self._collected > 0

    def end_collecting(self) -> None:
        """Takes the step that gradients wait for with those there are, each batch at the share of a whole step."""
        if self.collecting:
            self._optimizer.step()
            self._module.lazy_reset_grad()
            self._collected = 0

    def discard(self) -> None:
        """Drops the gradients at hand, those collected for a step included: the next `forward_backward` overwrites them
        instead of adding. Running statistics are as before the last one that no `apply` followed, if there is one."""
        self._collected = 0
        if self._before:
            for parameter, value in zip(self._running, self._before, strict=True):
                parameter.data = value
        self._before = []
        self._module.lazy_reset_grad()

    @property
    def learning_rate(self) -> float:
        """The rate that a schedule, which is in the optimizer graph, multiplies; it is in no checkpoint."""
        return float(self._optimizer.get_learning_rate()) * self._rate_scale

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._optimizer.set_learning_rate(value / self._rate_scale)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the trainable parameters and of running statistics by name; what is frozen is constants of the graphs."""
        return {parameter.name: np.array(parameter.data) for parameter in self._parameters}

    def set_parameters(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        """Other values for those named; moments stay. Raises KeyError, ValueError for another name or shape."""
        known = {parameter.name: parameter for parameter in self._parameters}
        for name, value in values.items():
            if value.shape != np.shape(known[name].data):
                raise ValueError(f"{name} has shape {list(np.shape(known[name].data))}, not {list(value.shape)}")
            known[name].data = np.ascontiguousarray(value, np.float32)
        self.not_finite()  # what it measures decides whether the next step looks ahead

    def export_inference(self, path: Path) -> None:
        """Writes the bundle's inference graph on the parameters and running statistics at hand. Raises OSError."""
        with replacing(path) as new:
            try:
                self._module.export_model_for_inferencing(str(new), ["logits", "embedding"])
            except RuntimeError as error:
                raise OSError(f"ONNX Runtime cannot write it: {_first_line(error)}") from error

    def dump(self) -> bytes:
        """A checkpoint of parameters and moments; the same state gives the same bytes."""
        with private_file() as path:
            self._api.CheckpointState.save_checkpoint(self._checkpoint, str(path), include_optimizer_state=True)
            return path.read_bytes()


def resume(bundle: Bundle, checkpoint: bytes, threads: int) -> TrainingSession:
    """A session on the bytes of `TrainingSession.dump`. Raises BundleError."""
    try:
        with private_file() as path:
            path.write_bytes(checkpoint)
            return TrainingSession(bundle, path, threads)
    except OSError as error:
        raise BundleError(f"the checkpoint cannot be read: {NO_ROOM.format(error)}") from error


def read_parameters(checkpoint: bytes) -> dict[str, NDArray[np.float32]]:
    """The trainable parameters in the bytes of `TrainingSession.dump`; needs no bundle. Raises BundleError."""
    try:
        with private_file() as path:
            path.write_bytes(checkpoint)
            state = runtime.load().CheckpointState.load_checkpoint(str(path))
            return {name: np.array(one.data) for name, one in state.parameters if one.requires_grad}
    except RuntimeError as error:
        raise BundleError(f"ONNX Runtime cannot read the checkpoint: {_first_line(error)}") from error
    except OSError as error:
        raise BundleError(f"the checkpoint cannot be read: {NO_ROOM.format(error)}") from error


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
