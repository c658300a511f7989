"""Reads activations out of any `nn.Module` by module path, without editing it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mentor_mentee.errors import UserError, did_you_mean


class Taps:
    """Runs a model and returns its output, with what chosen layers put out and what chosen layers were given.

    A tensor is cloned the moment its layer returns, so that an in-place operation after it (`out += identity`,
    `ReLU(inplace=True)`) cannot overwrite what was captured; no more once a forward in this mode has left it as it was, which
    each one proves anew. Hooks exist only while the model runs; the model, its modules and its state dict stay as they are.
    Gradients flow through what is captured.

    Raises `UserError` for a path that the model lacks, and for a layer that did not run, ran more than once (which
    of its outputs was meant?) or put out something else than one tensor.
    """

    def __init__(self, model: nn.Module, outputs: Sequence[str] = (), inputs: Sequence[str] = ()) -> None:
        self.model = model
        self._whole = False  # whether it ran to its end once
        self._outputs = {path: find_layer(model, path) for path in outputs}
        self._inputs = {path: find_layer(model, path) for path in inputs}
        self._untouched: dict[bool, set[str]] = {}  # by the model's mode: layers whose output nothing writes over

    def __call__(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """x [B, ...] -> (the model's output, {path: its output}, {path: its input})."""
        put_out: dict[str, list[object]] = {path: [] for path in self._outputs}
        given: dict[str, list[object]] = {path: [] for path in self._inputs}
        untouched = self._untouched.get(self.model.training, set())
        versions: dict[str, tuple[Tensor, int]] = {}

        def keep_output(path: str) -> Any:
            def hook(_module: nn.Module, _args: object, output: object) -> None:
                if isinstance(output, Tensor) and not output.is_inference():
                    versions[path] = output, output._version
                put_out[path].append(output if path in untouched else _copy(output))

            return hook

        def keep_input(path: str) -> Any:
            return lambda _module, args, named: given[path].append(_copy([*args, *named.values()][0]))

        hooks = [layer.register_forward_hook(keep_output(path)) for path, layer in self._outputs.items()]
        hooks += [
            layer.register_forward_pre_hook(keep_input(path), with_kwargs=True) for path, layer in self._inputs.items()
        ]
        try:
            result = self.model(x)
        finally:
            for hook in hooks:
                hook.remove()
        kept = {path for path, (output, version) in versions.items() if output._version == version}
        self._untouched[self.model.training] = kept & untouched if self.model.training in self._untouched else kept
        if not untouched <= kept:  # written over in this forward, though not in the first
            return self(x)
        return _one_tensor(result, type(self.model).__name__), self._once(put_out), self._once(given)

    def outputs_alone(self, x: Tensor) -> dict[str, Tensor]:
        """{path: its output}: after the last of these layers the model is not run any further.

        The first time it runs whole, which is when layers are seen that run twice. One that was compiled always does.
        """
        if not self._whole or not self._outputs or compiled(self.model):
            self._whole = True
            return self(x)[1]
        found: dict[str, Tensor] = {}

        def keep(path: str) -> Any:
            def hook(_module: nn.Module, _args: object, output: object) -> None:
                found[path] = _one_tensor(_copy(output), f"layer '{path}'")
                if len(found) == len(self._outputs):
                    raise _Enough

            return hook

        hooks = [layer.register_forward_hook(keep(path)) for path, layer in self._outputs.items()]
        try:
            self.model(x)
        except _Enough:
            return found
        finally:
            for hook in hooks:
                hook.remove()
        raise UserError(
            f"{type(self.model).__name__} did not run all of {', '.join(self._outputs)}, as it did before; a probe needs layers "
            "that run in each forward"
        )

    def _once(self, captured: dict[str, list[object]]) -> dict[str, Tensor]:
        for path, values in captured.items():
            if len(values) != 1:
                times = "did not run" if not values else f"ran {len(values)} times"
                raise UserError(
                    f"layer '{path}' of {type(self.model).__name__} {times} in one forward; a probe needs a layer that "
                    "runs exactly once: choose another (where a block shares one ReLU, its BatchNorm or the whole block)"
                )
        return {path: _one_tensor(values[0], f"layer '{path}'") for path, values in captured.items()}


class _Enough(BaseException):
    """Ends a forward from inside; no `Exception`, which a network may catch."""


def compiled(model: nn.Module) -> bool:
    return any(
        isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None
        for module in model.modules()
    )


def find_layer(model: nn.Module, path: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if path and path in modules:
        if isinstance(modules[path], torch.jit.ScriptModule):
            raise unreadable(model)
        return modules[path]
    known = [known for known in modules if known]
    raise UserError(
        f"no layer '{path}' in {type(model).__name__}{did_you_mean(path, known)} "
        f"(it has {', '.join(known[:12])}{', …' if len(known) > 12 else ''})"
    )


def unreadable(model: nn.Module) -> UserError:
    """The error for layers that run inside TorchScript, where no hook sees them."""
    return UserError(
        f"{type(model).__name__} has its layers in TorchScript, where they cannot be read: a mentor answers without them "
        "under probes=none, a mentee has to be given as the Python module that was scripted"
    )


def find_head(model: nn.Module, example: Tensor, setting: str = "mentee.head") -> str:
    """Path of the layer that is given the embedding: the `nn.Linear` whose output is the model's output; where there is none, the
    last layer that has parameters, being a 1×1 convolution into as many channels as there are classes (SqueezeNet's head).

    Raises `UserError` where no single layer makes the logits; it names those that may be meant, and `setting`, which says so.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise unreadable(model)
    linears: list[str] = [path for path, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    with evaluating(model), torch.no_grad():
        for path in reversed(linears):
            try:
                logits, outputs, _ = Taps(model, outputs=[path])(example)
            except UserError:
                continue
            if outputs[path].shape == logits.shape and torch.equal(outputs[path], logits):
                return path
        if (convolution := last_convolution(model)) is not None:
            logits, outputs, _ = Taps(model, outputs=[convolution])(example)
            if outputs[convolution].shape[:2] == logits.shape:
                return convolution
    with evaluating(model), torch.no_grad():
        likely = head_candidates(model, int(model(example).shape[1])) or putting_out_logits(model, example)
    unknown = f"no linear layer of {type(model).__name__} puts out its logits, so its embedding is not known"
    if not likely:
        raise UserError(
            f"{unknown}, and no other layer does: put the head into a module of its own, which is given the embedding and puts "
            "out the logits (a subclass of nn.Linear works)"
        )
    raise UserError(f"{unknown}; name the layer whose input is the embedding: {setting}={' or '.join(likely[:4])}")


def head_candidates(model: nn.Module, classes: int) -> list[str]:
    """Layers that put out one number a class, as each of two heads whose mean are the logits does; the later one first."""
    found = [
        path
        for path, layer in model.named_modules()
        if classes in (getattr(layer, "out_features", None), getattr(layer, "out_channels", None))
    ]
    return found[::-1]


def putting_out_logits(model: nn.Module, example: Tensor) -> list[str]:
    """Layers with parameters whose output is the model's; the innermost first."""
    found = []
    for path in [path for path, layer in model.named_modules() if path and next(layer.parameters(), None) is not None]:
        try:
            logits, outputs, _ = Taps(model, outputs=[path])(example)
        except UserError:
            continue
        if torch.equal(outputs[path], logits):
            found.append(path)
    return found[::-1]


def last_convolution(model: nn.Module) -> str | None:
    """The last layer with parameters, if it is a 1×1 convolution; layers stand in the order in which they were made."""
    layers = [
        (path, layer)
        for path, layer in model.named_modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]
    path, layer = layers[-1] if layers else ("", model)
    pointwise = (
        isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and set(layer.kernel_size) == {1} and layer.groups == 1
    )
    return path if pointwise else None


def layer_shapes(model: nn.Module, example: Tensor, paths: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Shapes that layers put out for one sample of `example` [B, ...], without B."""
    with evaluating(model), torch.no_grad():
        _, outputs, _ = Taps(model, outputs=list(dict.fromkeys(paths)))(example)
    return {path: tuple(output.shape[1:]) for path, output in outputs.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; every module's own mode again afterwards (a frozen BatchNorm in a training net stays frozen)."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value


def _one_tensor(value: object, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    raise UserError(f"{where} put out a {type(value).__name__}, expected one tensor: choose a layer that returns one")
