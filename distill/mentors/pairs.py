"""Chooses the layers that a run compares: those named by hand, those found in the nets, or both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from distill.machine import Machine
from distill.mentors.probe_options import ProbeOptions, read_probes
from distill.report.page import Table
from mentor.mentor import Mentor
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probe_spec import Pairing
from mentor_mentee.objective.probes import Probe, find_probes, measure_probes
from mentor_mentee.objective.units import in_units
from mentor_mentee.pairing.stages import Match, match_stages

IMAGES = 512  # that adapters take their statistics from
BATCH = 64
TRIED = 8  # that an untrained mentor is shown


@dataclass(frozen=True)
class ChosenProbe:
    probe: Probe
    reason: str

    def as_json(self) -> dict[str, Any]:
        adapter = self.probe.adapter
        return {
            "name": self.probe.name,
            "mentor": {"layer": self.probe.mentor, "shape": list(adapter.mentor)},
            "mentee": {"layer": self.probe.mentee, "shape": list(adapter.mentee)},
            "adapter": adapter.kind,
            "normalise": adapter.normalise,
            "compared": list(adapter.shape),
            "weight": self.probe.weight,
            "reason": self.reason,
        }


def choose_probes(
    group: Mapping[str, Any],
    mentor: Mentor,
    mentee: nn.Module,
    view: View,
    train: Split,
    machine: Machine,
    loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
    units: bool = False,
) -> list[ChosenProbe]:
    """The probes of the `probes` group, their adapters measured on training images where they need it; prints a table
    where some were searched for. With `units` they weigh what turns β into units of the mentor's layers (objective/units.py).
    Draws nothing from torch's global random state. Raises `UserError` as the parts do."""
    options = read_probes(group)
    images = some_images(train, IMAGES)
    teaching, learning = mentor.view(images[:2]), view(images[:2])
    matches: list[Match] = []
    if options.search:
        matches = match_stages(mentor.network, teaching, mentee, learning)
    why = {match.name: match.reason for match in matches if match.name not in options.by_hand}
    pairs = all_pairs(options, matches)
    probes = find_probes(pairs, mentor.network, teaching, mentee, learning, loss.probe, learned=True)
    loss.check_probes({probe.name: probe.adapter for probe in probes})
    probes = measure_probes(probes, mentor.network, (mentor.view(part) for part in torch.split(images, BATCH)))
    views = (mentor.view(part) for part in torch.split(images, BATCH))
    weighed = in_units(probes, mentor.network, views, loss.probe)  # finds what has nothing to teach, whatever β is in
    probes = weighed if units else probes
    chosen = [ChosenProbe(probe, why.get(probe.name, "by hand")) for probe in probes]
    if matches:
        probe_table(chosen).print(machine.console)
    return chosen


def try_probes(
    group: Mapping[str, Any],
    mentor: nn.Module,
    its_view: View,
    mentee: nn.Module,
    view: View,
    train: Split,
    loss: LossSpec,
) -> list[Probe]:
    """The probes that `choose_probes` will find under a mentor that is still to be trained: its shapes are known, what adapters
    take from it is not, and stands there of the untrained one. Raises `UserError` where it would find no layer, or layers that
    the loss cannot compare."""
    options = read_probes(group)
    images = some_images(train, TRIED)
    teaching, learning = its_view(images), view(images)
    matches = match_stages(mentor, teaching, mentee, learning) if options.search else []
    probes = find_probes(all_pairs(options, matches), mentor, teaching, mentee, learning, loss.probe, learned=True)
    loss.check_probes({probe.name: probe.adapter for probe in probes})
    return measure_probes(probes, mentor, [teaching])


def all_pairs(options: ProbeOptions, matches: Sequence[Match]) -> dict[str, dict[str, Any]]:
    """Joins the pairs found with those by hand, which replace one of their name."""
    found = {
        match.name: Pairing(match.mentor.path, match.mentee.path, options.adapter, options.normalise)
        for match in matches
    }
    return {name: pairing._asdict() for name, pairing in (found | options.by_hand).items()}


def some_images(train: Split, count: int) -> torch.Tensor:
    """Picks the same ones at each run, evenly spread over the split: a split may be sorted by class."""
    count = min(count, len(train))
    return train.images[torch.arange(count) * len(train) // count][
        torch.randperm(count, generator=torch.Generator().manual_seed(0))
    ]


def probe_table(chosen: Sequence[ChosenProbe]) -> Table:
    rows = [
        [
            one.probe.name,
            f"{one.probe.mentor} {shape(one.probe.adapter.mentor)}",
            f"{one.probe.mentee} {shape(one.probe.adapter.mentee)}",
            one.probe.adapter.kind + (", normalised" if one.probe.adapter.normalise else ""),
            shape(one.probe.adapter.shape),
            f"{1 / one.probe.weight:.3g}",
            one.reason,
        ]
        for one in chosen
    ]
    return Table("Probes", ["probe", "mentor's layer", "mentee's layer", "adapter", "compared", "unit", "why"], rows)


def shape(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))
