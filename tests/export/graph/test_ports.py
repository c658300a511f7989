"""The inputs are declared once: every list of them that the project has is in that order and has those names."""

import json
from pathlib import Path

import onnx

from export.graph.ports import KNOBS, GraphInputs, input_names, output_names
from mentor_mentee.objective.loss_spec import LossSpec

NAMES = ["input", "labels", "labelled", "mentor_logits", "mentor_early", "mentor_late", "supervised", *KNOBS]


def test_names_stand_in_the_order_of_the_bundle_format() -> None:
    assert KNOBS == ("alpha", "beta", "gamma", "temperature")
    assert input_names(["early", "late"]) == NAMES
    assert output_names(["p"], LossSpec("l1", "dkd")) == ["loss", "ce", "l1_p", "dkd", "logits", "embedding"]


def test_a_list_and_the_named_values_are_each_others_inverse() -> None:
    flat = list(range(len(NAMES)))
    given = GraphInputs.of(flat, ["early", "late"])
    assert given.mentor == {"early": 4, "late": 5}
    assert (given.supervised, given.temperature) == (6, 10)
    assert given.flat() == flat
    assert given.named() == dict(zip(NAMES, flat, strict=True))
    assert given.map(float).flat() == [float(value) for value in flat]
    assert GraphInputs.of(flat[:9], []).named()["temperature"] == 8


def test_graph_and_manifest_of_a_bundle_have_that_order(bundle_folder: Path) -> None:
    graph = onnx.load(bundle_folder / "ort-training" / "eval_model.onnx").graph
    weights = {tensor.name for tensor in graph.initializer}
    given = [value.name for value in graph.input if value.name not in weights]
    manifest = json.loads((bundle_folder / "manifest.json").read_bytes())
    assert given[: len(NAMES)] == NAMES
    assert [port["name"] for port in manifest["graphs"]["training"]["inputs"]] == NAMES
    assert [value.name for value in graph.output] == output_names(["early", "late"])
