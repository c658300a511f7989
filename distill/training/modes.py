"""Says which layers of a network its own `train()` leaves in eval mode, and which it does not. Imports no Lightning."""

from collections.abc import Iterator, Sequence

from distill.training.module import Distillation

NAMED = 6  # layers that a line names


def modes(module: Distillation) -> Iterator[str]:
    """Puts the student into training mode; a line for what its own `train()` does otherwise than torch's."""
    network, whose = module.student.mentee, "mentee.network" if module.settings == "trainer" else "mentor.network"
    name = type(network).__name__
    layers = {path: layer for path, layer in network.named_modules() if path}
    came = [path for path, layer in layers.items() if not layer.training] if network.training else []
    module.training_mode()
    if module.only is not None:
        return
    if not network.training:
        yield (
            f"warning: {whose}: the train() of {name} leaves it in eval mode, so its dropout is off and its BatchNorm keeps its "
            "statistics throughout the training; call super().train(mode) in it if that is not meant"
        )
    elif kept := [path for path, layer in layers.items() if not layer.training]:
        yield f"{whose}: {name}'s train() keeps {listed(kept)} in eval mode, and so does this training"
    if set_again := [path for path in came if layers[path].training]:
        yield (
            f"warning: {whose}: {listed(set_again)} of {name} came in eval mode and train now, as train() has it; to keep them "
            "so override train() and call .eval() on them there"
        )


def listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:NAMED]) + (f" and {len(paths) - NAMED} more" if len(paths) > NAMED else "")
