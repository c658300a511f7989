"""The backend on stock graphs: any ONNX Runtime from 1.17 on, without its training half. P trainable numbers, S running
statistics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.backends import STOCK, Part, Stock, size_of
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.inputs import Batch
from mentee_device.bundle.parts import Graph
from mentee_device.core import runtime
from mentee_device.core.backends import state_file
from mentee_device.core.backends.backend import GROWTH, LARGEST_GRADIENT, NOT_FINITE, Outputs
from mentee_device.core.backends.inference import with_weights
from mentee_device.core.backends.values import Values, apart, flat
from mentee_device.files import replacing

Vectors = dict[str, NDArray[np.float32]]
SEEDS = 1 << 24  # whole numbers that float32 holds
LARGE = 1 << 18  # numbers of a vector that a step writes in place
NO_DROPOUT = np.full(1, -1, np.float32)


class StockSession:
    """The three stock graphs of `bundle` on `values`, by default the bundle's own. Raises BundleError, RuntimeMissing.

    Each step makes small vectors anew, since binding costs more than it saves there, and writes large ones in their own place.
    """

    name = STOCK

    def __init__(self, bundle: Bundle, threads: int, values: Values | None = None) -> None:
        stock = bundle.manifest.stock
        assert stock is not None, "the bundle has none; see choose.py"
        self._bundle, self._stock = bundle, stock
        self._state = first_vectors(bundle, stock) if values is None else vectors_of(stock, values)
        self._before: NDArray[np.float32] | None = None  # statistics that `discard` would bring back
        self._gradient: NDArray[np.float32] | None = None  # the sum since the last step
        self._taken = 0 if values is None else values.step
        self._learning, self._moving, self._answering = (
            _Graph(bundle, graph, threads) for graph in (stock.gradients, stock.optimizer, stock.forward)
        )
        self.learning_rate = bundle.manifest.learning_rate
        self._accumulate, self._collected = bundle.manifest.optimizer_step.accumulate, 0
        if (wrong := self.not_finite()) is not None:
            raise BundleError(NOT_FINITE.format(wrong))
        self._trusted = self._largest

    @property
    def learning_rate(self) -> float:
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._rate = float(np.float32(value))

    def forward(self, batch: Batch) -> Outputs:
        return self._answering.run(self._fed(batch))

    def evaluate(self, batch: Batch) -> Outputs:
        answers = self.forward(batch)
        if self._stock.statistics:
            return answers
        found = self._learning.run(self._fed(batch, NO_DROPOUT))
        return {name: value for name, value in found.items() if name != "gradient"} | answers

    def forward_backward(self, batch: Batch, step: int = 0) -> Outputs:
        share = np.float32(1 / self._accumulate)  # so that the sum over the batches of a step is their mean
        given = batch if self._accumulate == 1 else batch.scaled(share)
        outputs = self._learning.run(self._fed(given, np.full(1, step % SEEDS, np.float32)))
        gradient = outputs.pop("gradient")
        self._gradient = gradient if self._gradient is None else self._gradient + gradient
        if self._stock.statistics:
            self._before, self._state["statistics"] = self._state["statistics"], outputs.pop("new_statistics")
        return outputs if self._accumulate == 1 else outputs | {"loss": outputs["loss"] / share}

    def _fed(self, batch: Batch, seed: NDArray[np.float32] = NO_DROPOUT) -> dict[str, NDArray[Any]]:
        return {**self._state, **batch.feeds(), "seed": seed}

    def gradients_usable(self) -> bool:
        return self._gradient is None or _largest(self._gradient) < LARGEST_GRADIENT

    def apply(self) -> None:
        self._before = None
        self._collected += 1
        if self._collected == self._accumulate:
            self.end_collecting()

    @property
    def collecting(self) -> bool:
        return self._collected > 0

    def end_collecting(self) -> None:
        if self._gradient is not None and self.collecting:
            given = {"learning_rate": self._rate, "step": self._taken + 1}
            scalars = {name: np.full(1, value, np.float32) for name, value in given.items()}
            feeds = {**self._state, "gradient": self._gradient, **scalars}
            if len(self._gradient) < LARGE:
                moved = self._moving.run(feeds)
                self._state |= {name.removeprefix("new_"): vector for name, vector in moved.items()}
            else:
                self._moving.run_into(feeds, {f"new_{name}": vector for name, vector in self._state.items()})
            self._taken += 1
        self._gradient, self._collected = None, 0

    def discard(self) -> None:
        if self._before is not None:
            self._state["statistics"] = self._before
        self._before = self._gradient = None
        self._collected = 0

    def not_finite(self) -> str | None:
        largest = [_largest(self._state[name]) for name in self._layouts()]
        finite = all(value < np.inf for value in largest)  # false for NaN
        self._largest = max(largest) if finite else np.inf
        if finite:
            return None
        return next(name for name, value in self._named().items() if not np.isfinite(value).all())

    @property
    def trusted(self) -> bool:
        return self._largest <= GROWTH * self._trusted

    def trust(self) -> None:
        self._trusted = self._largest

    def parameters(self) -> Vectors:
        return {name: np.array(value) for name, value in self._named().items()}

    def set_parameters(self, values: Mapping[str, NDArray[np.float32]]) -> None:
        known = self._named()
        for name, value in values.items():
            if value.shape != known[name].shape:
                raise ValueError(f"{name} has shape {list(known[name].shape)}, not {list(value.shape)}")
        for name, value in values.items():
            known[name][...] = value
        self.not_finite()  # what it measures decides whether the next step looks ahead

    def export_inference(self, path: Path) -> None:
        graph = self._bundle.path(self._bundle.manifest.inference.file)
        try:
            made = with_weights(graph, self._named())
        except BundleError as error:
            raise OSError(str(error)) from error
        with replacing(path) as new:
            new.write_bytes(made)

    def dump(self) -> bytes:
        return state_file.written(self._state, self._layouts(), self._taken)

    def _layouts(self) -> dict[str, tuple[Part, ...]]:
        return {"parameters": self._stock.parameters, "statistics": self._stock.statistics}

    def _named(self) -> Vectors:
        """Views into the state of now."""
        vectors = [apart(parts, self._state[name]) for name, parts in self._layouts().items()]
        return {name: value for named in vectors for name, value in named.items()}


class _Graph:
    """One graph in a session of its own. Raises BundleError."""

    def __init__(self, bundle: Bundle, graph: Graph, threads: int) -> None:
        self.file, self.inputs, self.outputs = graph.file, graph.inputs, graph.outputs
        self.session = runtime.session(bundle.path(graph.file), graph.file, threads)
        for kind, stated, real in (
            ("inputs", graph.inputs, self.session.get_inputs()),
            ("outputs", graph.outputs, self.session.get_outputs()),
        ):
            if list(stated) != (found := [port.name for port in real]):
                raise BundleError(f"{graph.file!r} has the {kind} {found}, manifest.json says {list(stated)}")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Outputs:
        """All outputs by name. Raises RuntimeError."""
        given = {name: feeds[name] for name in self.inputs}
        try:
            return dict(zip(self.outputs, self.session.run(self.outputs, given), strict=True))
        except Exception as error:  # the runtime's own classes, of no common base but this
            raise self._failed(error) from error

    def run_into(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> None:
        """Writes all outputs into `outputs`, which may be inputs too: a step's vector depends, number by number, on its old one.
        Raises RuntimeError, and leaves them NaN then."""
        binding = self.session.io_binding()
        for name in self.inputs:
            binding.bind_cpu_input(name, feeds[name])
        for name in self.outputs:
            vector = outputs[name]
            binding.bind_output(name, "cpu", 0, vector.dtype, vector.shape, vector.ctypes.data)
        try:
            self.session.run_with_iobinding(binding)
        except Exception as error:
            for name in self.outputs:
                outputs[name].fill(np.nan)
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> RuntimeError:
        return RuntimeError(f"{self.file!r}: {' '.join(str(error).split())[:300]}")


def _largest(vector: NDArray[np.float32]) -> float:
    """The largest absolute value; NaN where one is."""
    return float(max(vector.max(initial=0), -vector.min(initial=0)))


def first_vectors(bundle: Bundle, stock: Stock) -> Vectors:
    """Vectors that learning begins with: the bundle's parameters and statistics, moments of 0. Raises BundleError."""
    vectors = read_vectors(bundle.path(stock.state), stock)
    moments = {f"moment{number + 1}": np.zeros_like(vectors["parameters"]) for number in range(stock.moments)}
    return vectors | moments


def vectors_of(stock: Stock, values: Values) -> Vectors:
    """A state as vectors; moments that it has none of are 0. Raises BundleError where it does not fit the bundle."""
    vectors = {"parameters": flat(stock.parameters, values.parameters, "parameters")}
    vectors["statistics"] = flat(stock.statistics, values.statistics, "statistics")
    for number in range(stock.moments):
        given = values.moments[number] if number < len(values.moments) else None
        moment = np.zeros_like(vectors["parameters"]) if given is None else flat(stock.parameters, given, "moments")
        vectors[f"moment{number + 1}"] = moment
    return vectors


def read_vectors(file: Path, stock: Stock) -> Vectors:
    """`parameters` [P] and `statistics` [S] of a bundle's state. Raises BundleError."""
    found = {"statistics": np.zeros(0, np.float32)}
    try:
        with safe_open(file, "np") as state:
            for name in {"parameters", "statistics"} & set(state.keys()):
                found[name] = np.array(state.get_tensor(name))  # which the runtime will write to
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise BundleError(f"{stock.state!r} cannot be read ({str(error)[:200]}): make the bundle again") from error
    for name, parts in (("parameters", stock.parameters), ("statistics", stock.statistics)):
        size = size_of(parts)
        if name not in found or found[name].shape != (size,) or found[name].dtype != np.float32:
            raise BundleError(f"{stock.state!r} has not {size} float32 numbers in {name!r}: make the bundle again")
    return found
