"""The settings of a run: `flwr run … --run-config 'bundle="…" rounds=10'`, over the defaults of `fleet/app/pyproject.toml`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from fleet.wire.described import described
from fleet.wire.errors import FleetError
from fleet.wire.terms import AVERAGE, DISTIL, Terms

STRATEGIES = ("fedavg", "fedprox", "fedadam", "median", "trimmed-mean", "krum", "multi-krum")


@dataclass(frozen=True)
class FleetSettings:
    """A number of 0 that makes no sense as such is the default of Flower or of the bundle."""

    bundle: str = described("", "folder or zip of the fleet's base")
    fleet: str = described("fleet", "its name: several fleets on one SuperLink have different ones")
    key: str = described("", "public key that the bundle must be signed for")
    mode: str = described(AVERAGE, "average: parameters travel; distil: logits on the public set do")
    strategy: str = described("fedavg", "who makes one of many: " + ", ".join(STRATEGIES))
    rounds: int = described(10, "rounds", least=1)
    fraction: float = described(1.0, "share of the devices that a round asks", above=0)
    min_devices: int = described(2, "devices that a round waits for, and asks at least", least=1)
    wait: float = described(
        86400.0, "seconds that a round waits for them; then the run ends with the rounds that it had", above=0
    )
    timeout: float = described(600.0, "seconds that a round waits for answers", above=0)
    evaluate: bool = described(True, "devices also say how good each round's mentee is with them")
    shared: str = described("all", "all; or body: devices keep their classifiers")
    steps: int = described(20, "steps of a device in a round", least=1)
    batch: int = described(8, "the owner's samples in a step", least=1)
    replay: str = described("mentor", "who answers the bundle's replay samples: mentor, own, auto")
    replay_batch: int = described(16, "replay samples in a step; 0: learning without the mentor", least=0)
    owner_weight: float = described(4.0, "weight of an owner's label; a replayed one weighs 1", above=0)
    learning_rate: float = described(0.0, "of the device's optimizer; 0: the bundle's", least=0)
    alpha: float = described(-1.0, "weight of the labels; below 0: the bundle's")
    beta: float = described(-1.0, "weight of the mentor's layers; below 0: the bundle's")
    gamma: float = described(-1.0, "weight of the softmax term; below 0: the bundle's")
    temperature: float = described(-1.0, "temperature of both softmaxes; below 0: the bundle's")
    holdout: float = described(0.2, "share of each owner's labels that only judges", least=0)
    seed: int = described(0, "of the devices' draws and the public samples of a round", least=0)
    proximal_mu: float = described(0.1, "fedprox: weight of the way from the round's parameters", least=0)
    eta: float = described(0.01, "fedadam: the server's step size", above=0)
    trim: float = described(0.2, "trimmed-mean: share cut off at either end", least=0)
    poisoned: int = described(0, "krum, multi-krum: devices that may be poisoned", least=0)
    ask: int = described(200, "distil: public samples of a round", least=1)
    most_examples: int = described(1000, "samples that a device counts for at most", least=1)
    golden_drop: float = described(0.02, "golden accuracy that a round may cost against the base", least=0)
    reply_drop: float = described(
        0.1, "golden accuracy that a device's reply may lie below the round's start; 1: all count", least=0
    )
    noise: float = described(0.0, "noise multiplier of differential privacy; 0: none", least=0)
    clip: float = described(1.0, "norm that an update is clipped to under noise", above=0)
    delta: float = described(1e-5, "δ of the ε that is stated", above=0)
    population: int = described(0, "devices in all that δ and ε speak of; 0: min-devices", least=0)
    out: str = described("fleet.safetensors", "file of the result")
    checkpoint: str = described(
        "", "mentee.safetensors the base was exported from: the result becomes a bundle at once"
    )
    release: str = described("", "folder of that bundle")
    sign_key: str = described("", "private key that signs it")
    devices: str = described("", "simulation: folder of <number>.npz, one a device")
    private: str = described("", "simulation: head, where simulated devices keep their classifiers")

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> "FleetSettings":
        """Reads a run config. Raises FleetError for a name or a value that makes no sense."""
        known = {one.name.replace("_", "-"): one for one in fields(cls)}
        found: dict[str, Any] = {}
        for name, value in config.items():
            if name not in known:
                near = get_close_matches(name, list(known), n=1)
                raise FleetError(
                    f"the run config has {name!r}{f'; did you mean {near[0]!r}?' if near else ', which is no setting'}"
                )
            found[known[name].name] = _checked(name, value, known[name])
        settings = cls(**found)
        for name, value, allowed in (
            ("mode", settings.mode, (AVERAGE, DISTIL)),
            ("strategy", settings.strategy, STRATEGIES),
            ("shared", settings.shared, ("all", "body")),
        ):
            if value not in allowed:
                raise FleetError(f"{name} is {value!r}; expected {', '.join(allowed)}")
        settings._fit()
        return settings

    def _fit(self) -> None:
        """Raises FleetError for settings that exclude each other."""
        if not self.bundle:
            raise FleetError("the run has no bundle: --run-config 'bundle=\"bundles/mine.zip\"'")
        if bool(self.checkpoint) != bool(self.release):
            raise FleetError(
                "checkpoint and release belong together: give both, or release later with mentee-fleet release"
            )
        if self.noise and (self.mode, self.strategy) != (AVERAGE, "fedavg"):
            raise FleetError(
                "noise is accounted for with mode average and strategy fedavg alone: Flower's accountant knows no other"
            )
        if self.mode == DISTIL and self.strategy == "fedadam":
            raise FleetError(
                "fedadam steps from one round's logits to the next, which are of other samples: choose another strategy"
            )
        if self.fraction > 1 or self.trim >= 0.5 or self.holdout >= 1 or self.delta >= 1:
            raise FleetError("expected fraction ≤ 1, trim < 0.5, holdout < 1 and delta < 1")
        if self.golden_drop > 1 or self.reply_drop > 1:
            raise FleetError("golden-drop and reply-drop are shares, as 0.1 for ten points: expected at most 1")

    def terms(self, base: str, public: str) -> Terms:
        """Terms that devices are told. Under distillation any bundle with the same public set takes part."""
        told = {one.name: getattr(self, one.name) for one in fields(Terms) if one.name not in ("base", "public")}
        return Terms(**told, base=base if self.mode == AVERAGE else "", public=public if self.mode == DISTIL else "")


def _checked(name: str, value: Any, one: Any) -> Any:
    kind = type(one.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise FleetError(f"{name} is {value!r:.60}; expected {kind.__name__}")
    least, above = one.metadata.get("least"), one.metadata.get("above")
    if kind is float and not abs(value) < 1e12:
        raise FleetError(f"{name} is {value}; expected a finite number")
    if least is not None and value < least:
        raise FleetError(f"{name} is {value}; expected at least {least}")
    if above is not None and not value > above:
        raise FleetError(f"{name} is {value}; expected more than {above}")
    return value
