"""Costs against a count by hand."""

import json
from pathlib import Path

import torch
from torch import nn

from export.network.costs import Costs, count
from export.network.trainable import choose_trainable


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))


def test_counts_are_those_by_hand() -> None:
    """Batch 2 of 1×8×8. The convolution keeps its input, ReLU its output, which is the linear layer's input as well."""
    whole = count(network(), (1, 8, 8), moments=2, batch=2)
    assert (whole.parameters, whole.trainable) == (40 + 1450, 40 + 1450)
    assert (whole.gradient_bytes, whole.optimizer_bytes) == (4 * 1490, 8 * 1490)
    assert whole.activation_bytes == 4 * 2 * (64 + 144)
    net = network()
    choose_trainable(net, "head", "3", torch.zeros(2, 1, 8, 8))
    head = count(net, (1, 8, 8), moments=0, batch=2)
    assert head == Costs(1490, 1450, 4 * 1450, 0, 4 * 2 * 144, 2)
    assert "1,450 of 1,490 parameters train" in str(head)


def test_the_manifest_has_the_costs_of_its_bundle(bundle_folder: Path) -> None:
    manifest = json.loads((bundle_folder / "manifest.json").read_bytes())
    costs = manifest["costs"]
    assert costs["bundle_bytes"] == sum(
        path.stat().st_size for path in bundle_folder.rglob("*") if path.is_file() and path.name != "manifest.json"
    )
    assert costs["parameters"] == costs["trainable"] == manifest["parameters"]["count"]
    assert costs["optimizer_bytes"] == 8 * costs["trainable"]  # AdamW's two moments
    assert Costs.of(costs).batch == 8
