"""A large network that only answers: frozen, always in eval mode, never part of a mentee's checkpoint."""

import copy
import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mentor.precisions import FULL, HALF
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.probes import Probe
from mentor_mentee.objective.taps import Taps

LARGE = 64  # pixels of a side, from which a CPU's convolutions in float32 are faster with the channels last in memory
CAST = (nn.Conv2d, nn.Linear)  # by autocast, all of their arguments


class Answers(NamedTuple):
    logits: Tensor  # [B, K]; [B, 0] of a mentor that is asked about its layers alone
    activations: dict[str, Tensor]  # probe name -> [B, *probe shape], in the space the probe compares in


class Mentor:
    """Answers batches of source images through its own view of them.

    Deliberately not an `nn.Module`: a module that holds it does not register its weights, move it to training mode
    or write it into a checkpoint.
    """

    def __init__(
        self,
        network: nn.Module,
        view: View,
        probes: Sequence[Probe] = (),
        identity: str = "",
        precision: str = FULL,
        logits: bool = True,
    ) -> None:
        """`identity`: of the recipe that the network was built from (`mentor_mentee.recipe.recipe_identity`). `precision`: one of
        PRECISIONS, in which it computes; its answers are float32. Without `logits` it runs no further than its last probe."""
        self.network = network
        for value in network.parameters():  # TorchScript has no requires_grad_ of its own
            value.requires_grad_(False)
        self.view = view
        self.probes = list(probes)
        self.identity = identity
        self.precision = precision
        self.logits = logits or not self.probes
        self._stops = not self.logits  # after the last probed layer
        # a CPU would cast all weights anew for each batch, which takes as long as half of the network
        self._asked = network if precision == FULL or not on_cpu(network) else halved(network, precision)
        self._taps = Taps(self._asked, outputs=list(dict.fromkeys(probe.mentor for probe in probes)))

    def to(self, device: torch.device) -> "Mentor":
        self.network.to(device)
        self._asked.to(device)
        return self

    def sharded(self, device: torch.device) -> "Mentor":
        """The same, each process of torch's default group holding a part of it on `device`; all of them must ask at once. This
        one stays whole."""
        from mentor.shard import shard

        network = copy.deepcopy(self.network)
        shard(network, device)
        made = Mentor(network, self.view, self.probes, self.identity, logits=self.logits)
        made.precision = self.precision  # the parts of its weights stay float32
        made._stops = False  # the rest of a forward gives up what was gathered
        return made

    @property
    def batch(self) -> int:
        """Samples to ask about at once: 62 images of 299 px, whose activations take a gigabyte or so, at most 256."""
        return max(8, min(256, 2**24 // prod(self.view.shape)))

    def fingerprint(self, probes: bool = True) -> str:
        """sha256 over its view, its probes, its recipe's identity and its weights: two mentors with one fingerprint give the same
        answers; without `probes` the same logits."""
        asked = f"{self.probes} " if probes else ""
        how = "" if self.precision == FULL else f" {self.precision}"
        digest = hashlib.sha256(f"{self.view} {asked}{self.identity}{how}".encode())
        for name, value in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def answer(self, image_BCHW: Tensor) -> Answers:
        """uint8 source images -> answers that carry no gradient but may stand in a graph that does."""
        self._asked.eval()  # whoever called .train() on it since
        with torch.inference_mode():
            source = self.view(image_BCHW)
            if source.device.type == "cpu" and (self.precision != FULL or min(source.shape[2:]) >= LARGE):
                source = source.contiguous(memory_format=torch.channels_last)
            with self._computing(source.device):
                if self.logits:
                    logits, outputs, _ = self._taps(source)
                else:
                    outputs = self._taps.outputs_alone(source) if self._stops else self._taps(source)[1]
                    logits = source.new_empty(len(source), 0)
            logits, outputs = logits.float(), {path: output.float() for path, output in outputs.items()}
            activations = {probe.name: probe.adapter.from_mentor(outputs[probe.mentor]) for probe in self.probes}
        # a clone outside is an ordinary tensor; autograd refuses to save an inference tensor for its backward
        return Answers(logits.clone(), {name: activation.clone() for name, activation in activations.items()})

    def _computing(self, device: torch.device) -> AbstractContextManager[object]:
        if self.precision == FULL:
            return nullcontext()
        return torch.autocast(device.type, dtype=getattr(torch, HALF[self.precision]))


def on_cpu(network: nn.Module) -> bool:
    return all(value.device.type == "cpu" for value in network.parameters())


def halved(network: nn.Module, precision: str) -> nn.Module:
    """A copy whose convolutions and linear layers have their weights in half precision, as autocast would cast them; the network
    itself where it has none that can be seen."""
    if not any(type(module) in CAST for module in network.modules()):
        return network
    twin = copy.deepcopy(network)
    for module in twin.modules():
        if type(module) in CAST:
            module.to(getattr(torch, HALF[precision]))
    return twin
