"""Probes found in two nets, and the mentee that answers at them."""

from typing import Any

import pytest
import torch
from torch import nn

from mentee.networks import PlainCNN
from mentor.networks import ResidualNet
from mentor_mentee.errors import UserError
from mentor_mentee.objective.adapters import Adapter
from mentor_mentee.objective.probe_spec import Pairing, parse_probes
from mentor_mentee.objective.probes import ProbedMentee, find_probes, measure_probes


def test_probes_are_pairs_of_paths_under_an_identifier() -> None:
    plain = Pairing("layer1", "features.0")
    assert (
        parse_probes({"early": ["layer1", "features.0"]}) == {"early": plain} == {"early": (*plain[:2], "auto", False)}
    )
    long = {"mentor": "layer1", "mentee": "features.0", "normalise": False}
    assert parse_probes({"a": long, "b": ["x", "y"]}, "pca", True) == {
        "a": Pairing("layer1", "features.0", "pca", False),
        "b": Pairing("x", "y", "pca", True),
    }
    assert parse_probes({}) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adaptor": "pca"}, r"probe 'p' has no option 'adaptor'; did you mean 'adapter'"),
        ({"adapter": "slize"}, r"probe 'p' asks for the adapter 'slize'; did you mean 'slice'"),
        ({"normalise": "yes"}, r"probe 'p': normalise=yes; expected true or false"),
        ({"mentor": 3}, r"probe 'p' is .*expected two module paths"),
        ({"mentee": ""}, r"probe 'p' is .*expected two module paths"),
    ],
)
def test_a_typo_in_the_long_form_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_probes({"p": {"mentor": "a", "mentee": "b"} | options})


@pytest.mark.parametrize("name", ["two words", "1st", "a-b", ""])
def test_a_probe_name_that_cannot_name_a_graph_input_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="plain identifier"):
        parse_probes({name: ["a", "b"]})


@pytest.mark.parametrize("pair", ["ab", ["a"], ["a", "b", "c"], ["a", 3], []])
def test_a_probe_that_is_no_pair_of_paths_is_refused(pair: Any) -> None:
    with pytest.raises(UserError, match=r"probe 'p' is .*expected two module paths"):
        parse_probes({"p": pair})


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return ResidualNet(1, 3, widths=(4, 6)), PlainCNN(1, 3, widths=(2, 8))


def test_found_probes_fit_what_the_layers_put_out() -> None:
    mentor, mentee = nets()
    pairs = {"early": ["stages.0", "features.0"], "late": ["stages.1", "features.1"], "head": ["head", "head"]}
    found = find_probes(pairs, mentor, torch.randn(2, 1, 16, 16), mentee, torch.randn(2, 1, 8, 8))
    assert [(p.name, p.mentor, p.mentee) for p in found] == [(name, *pair) for name, pair in pairs.items()]
    assert [p.adapter for p in found] == [
        Adapter((2, 8, 8), (4, 16, 16), (2, 8, 8)),
        Adapter((8, 4, 4), (6, 8, 8), (6, 4, 4)),
        Adapter((3,), (3,), (3,), "identity"),
    ]


def test_a_probe_on_a_layer_that_does_not_exist_names_a_close_one() -> None:
    mentor, mentee = nets()
    x = torch.randn(2, 1, 8, 8)
    with pytest.raises(UserError, match=r"no layer 'stages.9' in ResidualNet; did you mean 'stages"):
        find_probes({"p": ["stages.9", "features.0"]}, mentor, x, mentee, x)
    with pytest.raises(UserError, match=r"no layer 'feature.0' in PlainCNN; did you mean 'features.0'"):
        find_probes({"p": ["stages.0", "feature.0"]}, mentor, x, mentee, x)


def test_a_probed_mentee_answers_logits_adapted_activations_and_the_heads_input() -> None:
    mentor, mentee = nets()
    mentee.eval()
    x = torch.randn(3, 1, 8, 8)
    pairs = {"late": ["stages.1", "features.1"], "again": ["stages.0", "features.1"]}  # one layer under two probes
    probed = ProbedMentee(mentee, find_probes(pairs, mentor, x, mentee, x), "head")
    logits, activations, embedding = probed(x)
    inner = mentee.features[1](mentee.features[0](x))
    torch.testing.assert_close(logits, mentee(x))
    torch.testing.assert_close(activations["late"], inner[:, :6])
    torch.testing.assert_close(activations["again"], inner[:, :4])
    torch.testing.assert_close(embedding, inner.mean((2, 3)))
    assert not any(name.startswith("adapters") for name in probed.state_dict())
    assert set(probed.state_dict()) == {f"mentee.{key}" for key in mentee.state_dict()}
    activations["late"].sum().backward()
    assert mentee.features[0][0].weight.grad.abs().max() > 0


def test_a_regressor_is_a_parameter_of_the_probed_mentee_and_a_statistic_is_none() -> None:
    mentor, mentee = nets()
    x = torch.randn(8, 1, 8, 8)
    how = {"mentor": "stages.1", "mentee": "features.1"}
    pairs = {"r": how | {"adapter": "regressor", "normalise": True}, "n": how | {"normalise": True}}
    probes = measure_probes(find_probes(pairs, mentor, x, mentee, x), mentor, [x[:3], x[3:]])
    probed = ProbedMentee(mentee, probes, "head")
    own = {f"mentee.{key}" for key in mentee.state_dict()}
    assert set(probed.state_dict()) - own == {"adapters.r.weight", "adapters.r.bias"}
    assert {name for name, _ in probed.named_parameters()} >= {"adapters.r.weight", "adapters.r.bias"}
    with torch.no_grad():
        inner = mentor.eval().stages[1](mentor.stages[0](mentor.stem(x)))
    torch.testing.assert_close(probes[0].adapter.constants.tensors["mean"], inner.mean((0, 2, 3)))
    assert probes[1].adapter.constants.tensors["std"].shape == (6,)


def test_a_probe_that_would_hide_a_word_of_modules_is_refused() -> None:
    mentor, mentee = nets()
    x = torch.randn(2, 1, 8, 8)
    with pytest.raises(UserError, match="probe name 'values' is a word of"):
        find_probes({"values": ["stages.0", "features.0"]}, mentor, x, mentee, x)
