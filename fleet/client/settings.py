"""Settings that the device itself decides: its node config, `flower-supernode --node-config 'bundle="…" state="…"'`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fleet.wire.errors import FleetError

SIMULATION = "partition-id"  # of Flower, in the node config of a simulated device
SIMULATED = "devices"  # of the run config: a folder with <number>.npz, and <number>/ made for its state


@dataclass(frozen=True)
class DeviceSettings:
    """`bundle` and `state`: the device's own. `fleet`: the only one it takes part in, "" for any. `data`: an .npz of samples,
    stored where the state has none yet. `private`: "head" keeps the classifier here, whatever the server shares.
    `key`: public key that the bundle must be signed for; `key_file`: 32 bytes that encrypt the state. `most_steps`: of a round.
    `dp_epsilon`, `dp_delta`, `dp_clip`: noise on what leaves, by Flower's LocalDpMod; an ε of 0 adds none."""

    bundle: str = ""
    state: str = ""
    fleet: str = ""
    data: str = ""
    private: str = ""
    key: str = ""
    key_file: str = ""
    backend: str = ""
    threads: int = 1
    most_steps: int = 1000
    dp_epsilon: float = 0.0
    dp_delta: float = 1e-5
    dp_clip: float = 1.0

    @classmethod
    def read(cls, node_config: Mapping[str, Any], run_config: Mapping[str, Any]) -> "DeviceSettings":
        """Reads a SuperNode's config; of a simulated device, the run's `devices` and `bundle`. Raises FleetError."""
        given = dict(node_config)
        if SIMULATION in given:
            folder = str(run_config.get(SIMULATED, ""))
            if not folder:
                raise FleetError(
                    "this device is simulated, and the run has no folder of devices: --run-config 'devices=\"…\"'"
                )
            number = given[SIMULATION]
            given = {
                "bundle": run_config.get("bundle", ""),
                "state": f"{folder}/{number}",
                "data": f"{folder}/{number}.npz",
            }
            given["private"] = run_config.get("private", "")
        known = {one.name.replace("_", "-"): one for one in fields(cls)}
        for name in given.keys() - known.keys():
            near = get_close_matches(name, list(known), n=1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise FleetError(f"the node config has {name!r}, which is no setting of a device{meant}")
        found = {}
        for name, value in given.items():
            kind: Any = type(known[name].default)
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind:
                raise FleetError(f"the node config has {name} = {value!r:.60}, expected {kind.__name__}")
            found[known[name].name] = value
        settings = cls(**found)
        for name in ("bundle", "state"):
            if not getattr(settings, name):
                raise FleetError(
                    f'the node config has no {name!r}: flower-supernode --node-config \'bundle="…" state="…"\''
                )
        if settings.private not in ("", "head"):
            raise FleetError(f'the node config has private = {settings.private!r:.40}, expected "head" or nothing')
        if (
            settings.most_steps < 1
            or settings.dp_epsilon < 0
            or not settings.dp_clip > 0
            or not 0 < settings.dp_delta < 1
        ):
            raise FleetError("the node config has most-steps, dp-epsilon, dp-clip or dp-delta out of range")
        return settings

    def secret(self) -> bytes | None:
        """The key of the state. Raises FleetError."""
        if not self.key_file:
            return None
        try:
            return Path(self.key_file).read_bytes()
        except OSError as error:
            raise FleetError(f"key-file {self.key_file!r} cannot be read ({error.strerror})") from error
