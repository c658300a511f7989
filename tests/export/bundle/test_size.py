"""A bundle is little more than its mentee's weights and its packs, which are there once."""

from dataclasses import replace
from pathlib import Path

from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.recipe import build
from tests.conftest import MENTEE, seeded

PACKS = ("supervision.safetensors", "golden.safetensors")


def test_bytes_of_a_bundle_beside_its_weights_and_packs(checkpoint: MenteeCheckpoint, tmp_path: Path) -> None:
    """At most 1.35 of both for two kinds of graphs, 1.2 for one, from 100,000 parameters on."""
    recipe = {**MENTEE, "widths": [32, 64, 160]}
    with seeded(0):
        network = build(recipe, "a test")
    large = replace(checkpoint, recipe=recipe, state=network.state_dict(), probes=())
    made = export_bundle(large, tmp_path / "bundle", ExportSettings(supervision_per_class=4, golden_per_class=4))
    assert not made.left_out
    assert made.manifest["parameters"]["count"] >= 100_000
    sizes = {name: entry["bytes"] for name, entry in made.manifest["files"].items()}
    whole, least = sum(sizes.values()), made.manifest["parameters"]["bytes"] + sum(sizes[name] for name in PACKS)
    assert whole <= 1.35 * least
    # by itself the first keeps the weights in its checkpoint, the second where they are
    training = whole - sum(size for name, size in sizes.items() if name.startswith("stock/") and name.endswith(".onnx"))
    stock = whole - sum(size for name, size in sizes.items() if name.startswith("ort-training/"))
    assert max(training, stock) <= 1.2 * least
