"""The arms of a comparison: alone, together by parameters or logits, in one place; each judged for owners and for everybody.

Every arm gives a device `rounds` × `steps` steps of the same program. Accuracies are from 0 to 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message
from mentee_device import Bundle, Learner, Owner, Samples

from benchmarks.fleet.people import People
from fleet.client import kept
from fleet.client.app import app
from fleet.client.learning import learn, plan_of
from fleet.local import LocalGrid
from fleet.server.result import FleetResult
from fleet.server.run import run
from fleet.server.settings import FleetSettings
from fleet.wire.arrays import Arrays
from fleet.wire.terms import Terms

Tamper = Callable[[int, Message], Message | None]


@dataclass(frozen=True)
class Arm:
    """`owner`: mean over devices on their writers' held-out images; `everybody`: on unseen writers, of the one mentee there is or
    the mean of all; `bytes`: of one device, both ways, over all rounds."""

    owner: float
    everybody: float
    bytes: float
    result: FleetResult | None = None


class Arms:
    """One base, its people, and states of devices under `folder`. `settings` of `FleetSettings` hold in all arms."""

    def __init__(
        self, people: People, base: Path, folder: Path, rounds: int, steps: int, settings: Mapping[str, Any]
    ) -> None:
        self.people, self.base, self.folder, self.rounds, self.steps = people, base, folder, rounds, steps
        self.settings = settings

    def nodes(self, arm: str, **config: Any) -> dict[int, dict[str, Any]]:
        """Devices with their samples; their guards hold nothing, so that arms differ in one thing."""
        nodes = {}
        for number, samples in enumerate(self.people.learn):
            state = self.folder / arm / str(number)
            state.parent.mkdir(parents=True, exist_ok=True)
            with Bundle.open(self.base) as bundle, Owner(bundle, state) as owner:
                owner.add(samples)
                owner.set(golden_drop=1.0)
            nodes[number] = {"bundle": str(self.base), "state": str(state), **config}
        return nodes

    def untouched(self) -> Arm:
        return self._judged(lambda number: {}, 0.0)

    def together(
        self, arm: str, tamper: Tamper | None = None, config: Mapping[str, Any] | None = None, **settings: Any
    ) -> Arm:
        nodes = self.nodes(arm, **(config or {}))
        grid = LocalGrid(app, nodes, tamper=tamper)
        usual = {"bundle": str(self.base), "fleet": arm, "rounds": self.rounds, "steps": self.steps, "holdout": 0.0}
        usual |= {"min_devices": 1, "golden_drop": 1.0, "reply_drop": 1.0, "evaluate": False}
        result = run(grid, FleetSettings(**{**usual, **self.settings, **settings}))
        shared = {} if result.about["mode"] == "distil" else result.arrays

        def mine(number: int) -> Arrays:
            with Bundle.open(self.base) as bundle, Owner(bundle, nodes[number]["state"]) as owner:
                return {**shared, **kept.read(owner, arm)}

        sent = (grid.counted["to"] + grid.counted["from"]) / len(nodes)
        return self._judged(mine, sent, result, shared or None)

    def alone(self, arm: str = "alone", **terms: Any) -> Arm:
        """Each device by itself."""
        nodes = self.nodes(arm)
        found = {number: self._learnt(config["state"], arm, **terms) for number, config in nodes.items()}
        return self._judged(lambda number: found[number], 0.0)

    def central(self, **terms: Any) -> Arm:
        """One device that has everybody's samples, in batches eight times as large."""
        state = self.folder / "central"
        self.folder.mkdir(parents=True, exist_ok=True)
        samples = Samples(
            np.concatenate([one.input for one in self.people.learn]),
            np.concatenate([one.labels for one in self.people.learn]),
        )
        with Bundle.open(self.base) as bundle, Owner(bundle, state) as owner:
            owner.set(golden_drop=1.0, most_samples=10**6, most_sample_bytes=1 << 40)
            owner.add(samples)
        found = self._learnt(str(state), "central", batch=64, **terms)
        return self._judged(lambda number: found, 0.0, None, found)

    def _learnt(self, state: str, arm: str, **terms: Any) -> Arrays:
        usual = {"steps": self.rounds * self.steps, "holdout": 0.0}
        usual |= {one.name: self.settings[one.name] for one in fields(Terms) if one.name in self.settings}
        with (
            Bundle.open(self.base) as bundle,
            Owner(bundle, state) as owner,
            owner.state.base() as learner,
        ):
            learn(owner, learner, plan_of(owner, Terms(arm, **{**usual, **terms}), 10**6), 1)
            return learner.parameters()

    def _judged(
        self,
        mine: Callable[[int], Arrays],
        sent: float,
        result: FleetResult | None = None,
        shared: Arrays | None = None,
    ) -> Arm:
        """`shared`: the one mentee that everybody gets; None: the mean of the devices' own."""
        owner, everybody = [], []
        with Bundle.open(self.base) as bundle, Learner(bundle) as learner:
            for number, test in enumerate(self.people.test):
                learner.reset()
                learner.set_parameters(mine(number))
                owner.append(learner.evaluate(test.input, test.labels))
                if shared is None:
                    everybody.append(learner.evaluate(self.people.everybody.input, self.people.everybody.labels))
            if shared is not None:
                learner.reset()
                learner.set_parameters(shared)
                everybody.append(learner.evaluate(self.people.everybody.input, self.people.everybody.labels))
        return Arm(float(np.mean(owner)), float(np.mean(everybody)), sent, result)
