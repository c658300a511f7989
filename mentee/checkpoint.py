"""The file that distillation hands to export: safetensors with the mentee's weights and all it takes to build it again."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from mentee.card import CARD, model_card
from mentee.checkpoint_file import require_checkpoint_file
from mentee.hub import fetched, pushed
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.files import write_bytes
from mentor_mentee.objective.adapters import LEARNED, Adapter, Constants
from mentor_mentee.objective.classifier import build_classifier
from mentor_mentee.objective.knobs import Knobs
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe
from mentor_mentee.recipe import Recipe

FORMAT = "mentee-checkpoint/2"
MENTEE = "mentee.safetensors"  # its name in a folder
OLDER = ("mentee-checkpoint/1",)  # without adapters' tensors; read as well
ADAPTERS = "adapters/"  # before the names of adapters' tensors; no module's parameter has a slash in its name


@dataclass(frozen=True)
class LastKnobs(Knobs):
    """Those of a run's last step, from which the device's defaults follow, and the highest γ of the whole run."""

    highest_gamma: float
    in_units: bool  # β is a strength, in the units of objective/units.py

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, float | int) or not 0 <= value < float("inf"):
                raise TypeError(f"knobs.{name} = {value!r}")


@dataclass(frozen=True)
class MenteeCheckpoint:
    """`mentor` and `data` say how to build those again (plain recipes), so that export can ask the mentor for answers."""

    recipe: Recipe  # of the network, complete: classes and channels filled in
    state: Mapping[str, torch.Tensor]
    head: str
    view: View
    classes: tuple[str, ...]
    probes: tuple[Probe, ...]
    mentor: Mapping[str, Any] | None
    data: Mapping[str, Any]
    accuracy: Mapping[str, Mapping[str, float]]  # split -> {"accuracy", "samples"}
    loss: LossSpec = LossSpec()  # noqa: RUF009 (frozen)
    knobs: LastKnobs | None = None  # None in checkpoints of older versions
    shown: str = "last step"  # whose weights these are: the last step's, or the best epoch's, for a person
    run: Mapping[str, Any] = field(default_factory=dict)  # how it was trained, for the model card

    def network(self) -> nn.Module:
        """The mentee, with its weights, in eval mode. Raises `UserError` where recipe and weights do not fit."""
        network = build_classifier(self.recipe, "the checkpoint's network")
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise UserError(
                f"the checkpoint's weights do not fit its network ({' '.join(str(error).split())[:300]}); "
                "has the module changed since the run? Distill again, or restore its code"
            ) from None
        network.eval()  # not what it returns: a train() of its own may return nothing
        return network

    def save(self, path: Path) -> None:
        """Atomic: an older checkpoint at `path` stays whole until the new one is."""
        about = self.about() | {"format": FORMAT}
        del about["state"]
        tensors = {key: value.detach().cpu().contiguous().clone() for key, value in self.state.items()}
        for probe, described in zip(self.probes, about["probes"], strict=True):
            del described["adapter"]["constants"]
            for name, value in probe.adapter.constants.tensors.items():
                tensors[f"{ADAPTERS}{probe.name}/{name}"] = value.contiguous()
        write_bytes(path, save(tensors, metadata={"mentee": json.dumps(about)}))

    def about(self) -> dict[str, Any]:
        """All but the weights."""
        return asdict(replace(self, state={}))

    def card(self, bundle: Mapping[str, Any] | None = None, notes: Iterable[str] = ()) -> str:
        """The model card, Markdown with Hugging Face's front matter. `bundle`: the manifest, where it is a bundle's, with `notes`
        on how that differs from the run."""
        return model_card(self.about(), bundle, notes)

    def save_pretrained(self, folder: Path | str) -> Path:
        """`mentee.safetensors` and its model card in `folder`, which is made. A card that is there stays: it may be edited."""
        path = Path(folder).expanduser()
        card = self.card()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise UserError(
                f"the folder {str(path)!r} cannot be made ({error}); give a folder that can be written"
            ) from None
        self.save(path / MENTEE)
        if not (path / CARD).exists():
            write_bytes(path / CARD, card.encode())
        return path

    @classmethod
    def from_pretrained(cls, name: Path | str, revision: str | None = None) -> "MenteeCheckpoint":
        """Reads a folder of `save_pretrained`, a run's folder, or a model of Hugging Face's hub (`owner/name`).

        Reading it runs none of its code; `network()` calls the Python callables that it names: load only those you trust.
        Raises `UserError` as `load` does, and where the hub does not have it.
        """
        path = Path(name).expanduser()
        if path.is_dir():
            return cls.load(path / MENTEE)
        return cls.load(path if path.is_file() else fetched(str(name), MENTEE, revision))

    def push_to_hub(self, name: str, private: bool | None = None, message: str = "") -> str:
        """Uploads what `save_pretrained` writes as the model `owner/name`; returns its address. A card that is there stays."""
        with tempfile.TemporaryDirectory() as folder:
            return pushed(self.save_pretrained(folder), name, private, message)

    @classmethod
    def load(cls, path: Path) -> "MenteeCheckpoint":
        """Raises `UserError` for a file that is missing, damaged or of another format."""
        require_checkpoint_file(path)
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("mentee", "{}"))
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, json.JSONDecodeError) as error:
            raise UserError(
                f"'{path}' is not a whole safetensors file ({error}); distill again or restore it"
            ) from None
        if not isinstance(about, dict) or about.pop("format", None) not in (FORMAT, *OLDER):
            raise UserError(f"'{path}' is not a {FORMAT} file; expected the mentee.safetensors of a distillation run")
        try:
            require_kinds(about)
            about["view"] = View.restored(about["view"])
            about["probes"] = tuple(restored_probe(probe, state) for probe in about["probes"])
            state = {key: value for key, value in state.items() if not key.startswith(ADAPTERS)}
            about["classes"] = tuple(about["classes"])
            about["loss"] = LossSpec(**about.get("loss", {}))
            about["knobs"] = LastKnobs(**about["knobs"]) if about.get("knobs") else None
            return cls(state=state, **about)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"'{path}' lacks part of what a {FORMAT} file says of itself ({error}); distill again"
            ) from None


def require_kinds(about: Mapping[str, Any]) -> None:
    """Raises `TypeError` for a part of another kind than `save` writes."""
    kinds: dict[str, Any] = {"recipe": dict, "data": dict, "accuracy": dict, "mentor": dict | None, "head": str}
    for name, kind in kinds.items():
        if not isinstance(about[name], kind):
            raise TypeError(f"{name} = {about[name]!r:.80}")
    if not isinstance(about.get("run", {}), dict):
        raise TypeError(f"run = {about['run']!r:.80}")


def restored_probe(about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Probe:
    """Restores a probe from what JSON made of it, and the file's tensors."""
    prefix = f"{ADAPTERS}{about['name']}/"
    constants = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    adapter: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in about["adapter"].items()
    }
    probe = Probe(**{**about, "adapter": Adapter(**adapter, constants=Constants(constants))})
    learned = {"weight", "bias"} if probe.adapter.kind in LEARNED else set()
    if missing := (learned - set(constants)) | probe.adapter.lacking():
        raise KeyError(f"{prefix}{sorted(missing)[0]}")
    return probe
