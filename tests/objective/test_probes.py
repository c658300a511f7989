"""Adapters against loops over every output element. Axes: B samples, C channels, H W space."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from data.errors import UserError
from mentee.networks import PlainCNN
from mentor.networks import ResidualNet
from objective.probes import Adapter, ProbedMentee, find_probes, parse_probes

CASES = {  # mentee, mentor, compared
    "equal maps": ((4, 6, 6), (4, 6, 6), (4, 6, 6)),
    "equal vectors": ((5,), (5,), (5,)),
    "equal sequences": ((7, 3), (7, 3), (7, 3)),
    "wider mentor": ((2, 4, 4), (5, 4, 4), (2, 4, 4)),
    "wider mentee": ((5, 4, 4), (2, 4, 4), (2, 4, 4)),
    "larger mentor": ((3, 4, 4), (3, 8, 8), (3, 4, 4)),
    "larger mentor by a broken factor": ((3, 4, 3), (3, 7, 8), (3, 4, 3)),
    "larger mentee": ((3, 8, 6), (3, 4, 2), (3, 4, 2)),
    "each larger on one axis": ((3, 8, 4), (3, 4, 9), (3, 4, 4)),
    "wider mentor, larger mentee": ((2, 8, 8), (6, 4, 4), (2, 4, 4)),
    "vectors of two widths": ((3,), (8,), (3,)),
    "map against vector": ((6, 4, 4), (3,), (3,)),
    "vector against map": ((3,), (6, 4, 5), (3,)),
}


def window(i: int, whole: int, part: int) -> range:
    """Where output cell i of adaptive pooling looks: from ⌊i·whole/part⌋ to ⌈(i+1)·whole/part⌉."""
    return range(i * whole // part, -(-(i + 1) * whole // part))


def adapted(activation: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Slice and pool by definition, an output element at a time."""
    out = np.zeros((len(activation), *shape))
    for b in range(len(activation)):
        if activation.ndim == 4 and len(shape) == 3:
            _, height, width = activation.shape[1:]
            for c, i, j in np.ndindex(shape):
                cells = [
                    activation[b, c, y, x] for y in window(i, height, shape[1]) for x in window(j, width, shape[2])
                ]
                out[b, c, i, j] = sum(cells) / len(cells)
        elif activation.ndim == 4:
            for c in range(shape[0]):
                out[b, c] = sum(activation[b, c].ravel()) / activation[b, c].size
        elif activation.ndim == 2:
            out[b] = [activation[b, c] for c in range(shape[0])]
        else:
            out[b] = activation[b]
    return out


@pytest.mark.parametrize(("mentee", "mentor", "shape"), CASES.values(), ids=CASES.keys())
def test_both_sides_are_sliced_and_pooled_to_one_shape(
    mentee: tuple[int, ...], mentor: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    adapter = Adapter.between("p", mentee, mentor)
    assert adapter == Adapter(mentee, mentor, shape)
    generator = torch.Generator().manual_seed(0)
    for given, adapt in ((mentee, adapter.from_mentee), (mentor, adapter.from_mentor)):
        activation = torch.randn(2, *given, generator=generator, dtype=torch.float64)
        np.testing.assert_allclose(adapt(activation).numpy(), adapted(activation.numpy(), shape), rtol=1e-12)


@pytest.mark.parametrize(("mentee", "mentor"), [((3, 7, 8), (3, 4, 4)), ((3, 8, 7), (3, 8, 4)), ((3, 6, 6), (9, 4, 4))])
def test_a_mentee_is_never_pooled_by_a_broken_factor(mentee: tuple[int, ...], mentor: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"probe 'late' would pool the mentee's .* by a broken factor"):
        Adapter.between("late", mentee, mentor)


@pytest.mark.parametrize(
    ("mentee", "mentor"), [((7, 3), (7, 4)), ((7, 3), (7,)), ((2, 4, 4), (2, 4, 4, 4)), ((), (3,))]
)
def test_layers_that_are_neither_maps_nor_vectors_must_be_equal(
    mentee: tuple[int, ...], mentor: tuple[int, ...]
) -> None:
    with pytest.raises(UserError, match=r"probe 'odd' pairs"):
        Adapter.between("odd", mentee, mentor)


def test_probes_are_pairs_of_paths_under_an_identifier() -> None:
    assert parse_probes({"early": ["layer1", "features.0"]}) == {"early": ("layer1", "features.0")}
    assert parse_probes({}) == {}


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
        Adapter((3,), (3,), (3,)),
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
    assert set(probed.state_dict()) == {f"mentee.{key}" for key in mentee.state_dict()}
    activations["late"].sum().backward()
    assert mentee.features[0][0].weight.grad.abs().max() > 0
