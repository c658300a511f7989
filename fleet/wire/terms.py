"""The terms of a run, which the server states and a device reads before it does anything."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from fleet.wire.errors import FleetError

if TYPE_CHECKING:
    from flwr.app import ConfigRecord  # settings are read, and described, where Flower is not

AVERAGE, DISTIL = "average", "distil"
ROUND = "server-round"  # of Flower's strategies
PROXIMAL = "proximal-mu"  # of Flower's FedProx
ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"  # records of a message; Flower's defaults
COUNT = "num-examples"
LOGITS = "logits"


@dataclass(frozen=True)
class Terms:
    """The terms of a round, and how a device learns in it; its own settings bound the rest.

    `mode`: parameters are averaged, or logits on the public set. `base`: the id of the bundle whose parameters travel, "" where
    none do. `public`: digest of the public set, "" where none is used. `shared`: "all" or "body", the parameters without the
    classifier. `ask`: public samples a round. A knob below 0 is the bundle's own; `learning_rate` 0 likewise.
    """

    fleet: str
    mode: str = AVERAGE
    base: str = ""
    public: str = ""
    shared: str = "all"
    seed: int = 0
    ask: int = 0
    steps: int = 20
    batch: int = 8
    replay: str = "mentor"
    replay_batch: int = 16
    owner_weight: float = 4.0
    learning_rate: float = 0.0
    alpha: float = -1.0
    beta: float = -1.0
    gamma: float = -1.0
    temperature: float = -1.0
    holdout: float = 0.2

    def record(self) -> "ConfigRecord":
        from flwr.app import ConfigRecord

        return ConfigRecord({_key(one.name): getattr(self, one.name) for one in fields(self)})

    @classmethod
    def read(cls, config: "ConfigRecord") -> "Terms":
        """Reads a message's config, in which Flower's strategies have keys of their own. Raises FleetError."""
        found: dict[str, Any] = {}
        for one in fields(cls):
            value = config.get(_key(one.name))
            kind: Any = {"str": str, "int": int, "float": float}[str(getattr(one.type, "__name__", one.type))]
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind:
                raise FleetError(
                    f"the server's terms have {_key(one.name)} = {value!r:.60}, expected {kind.__name__}: another version?"
                )
            found[one.name] = value
        terms = cls(**found)
        if terms.mode not in (AVERAGE, DISTIL) or terms.shared not in ("all", "body"):
            raise FleetError(
                f"the server's terms have mode {terms.mode!r:.40} and shared {terms.shared!r:.40}: update this app"
            )
        return terms

    def knobs(self) -> dict[str, float]:
        """α β γ T that the server sets."""
        given = {name: getattr(self, name) for name in ("alpha", "beta", "gamma", "temperature")}
        return {name: value for name, value in given.items() if value >= 0}


def _key(name: str) -> str:
    return name.replace("_", "-")
