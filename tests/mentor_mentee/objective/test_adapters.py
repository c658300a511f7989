"""Adapters against loops over every output element, plain torch, and numpy; and that none lets both sides go to zero.

Axes: B samples, C channels, H W space.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mentee.networks import PlainCNN
from mentor.networks import ResidualNet
from mentor_mentee.errors import UserError
from mentor_mentee.objective.adapters import (
    LEARNED,
    OF_COVARIANCE,
    Adapter,
    Constants,
    MenteeSide,
    channels_last,
    learned_kind,
)
from mentor_mentee.objective.moments import Moments, with_moments
from mentor_mentee.objective.probes import Probe, ProbedMentee, find_probes, measure_probes
from mentor_mentee.objective.taps import Taps
from tests.mentor_mentee.objective.by_definition import adapted, normal

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
    "larger mentee by a broken factor": ((3, 7, 8), (3, 4, 4), (3, 7, 4)),
    "signals": ((2, 1, 12), (3, 1, 6), (2, 1, 6)),
    "signals, a broken factor": ((2, 1, 12), (3, 1, 5), (2, 1, 12)),
    "vectors of two widths": ((3,), (8,), (3,)),
    "map against vector": ((6, 4, 4), (3,), (3,)),
    "vector against map": ((3,), (6, 4, 5), (3,)),
    "tokens against map": ((9, 4), (3, 3, 3), (3, 3, 3)),
    "map against tokens behind a class token": ((3, 8, 8), (17, 6), (3, 4, 4)),
    "tokens of two grids": ((16, 3), (5, 3), (3, 2, 2)),
    "tokens against vector": ((17, 4), (6,), (4,)),
}


@pytest.mark.parametrize(("mentee", "mentor", "shape"), CASES.values(), ids=CASES.keys())
def test_both_sides_are_sliced_and_pooled_to_one_shape(
    mentee: tuple[int, ...], mentor: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    adapter = Adapter.between("p", mentee, mentor)
    assert adapter == Adapter(mentee, mentor, shape, "identity" if mentee == mentor else "slice")
    for given, adapt in ((mentee, MenteeSide(adapter)), (mentor, adapter.from_mentor)):
        activation = normal(2, *given)
        np.testing.assert_allclose(adapt(activation).numpy(), adapted(activation.numpy(), shape), rtol=1e-12)


@pytest.mark.parametrize("kind", ["slice", "select", "regressor", "pca", "projector"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("mentee", "mentor", "shape"), CASES.values(), ids=CASES.keys())
def test_every_kind_brings_both_sides_into_its_shape(
    kind: str, normalise: bool, mentee: tuple[int, ...], mentor: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    if len(mentee) == len(mentor) == 2 and mentee[0] == 7:
        with pytest.raises(UserError, match="shapes that differ can be adapted"):
            Adapter.between("p", mentee, mentor, kind, normalise)
        return
    adapter = fitted(Adapter.between("p", mentee, mentor, kind, normalise), normal(50, *mentor).float())
    sides = MenteeSide(adapter)(normal(2, *mentee).float()), adapter.from_mentor(normal(2, *mentor).float())
    assert sides[0].shape == sides[1].shape == (2, *adapter.shape)
    if kind == "regressor":
        assert adapter.shape[0] == (mentor[1] if len(mentor) == 2 else mentor[0])


@pytest.mark.parametrize(
    ("mentee", "mentor"), [((7, 3), (7, 4)), ((7, 3), (7,)), ((2, 4, 4), (2, 4, 4, 4)), ((), (3,))]
)
def test_layers_that_are_no_maps_vectors_or_square_grids_must_be_equal(
    mentee: tuple[int, ...], mentor: tuple[int, ...]
) -> None:
    with pytest.raises(UserError, match=r"probe 'odd' pairs .* choose other layers"):
        Adapter.between("odd", mentee, mentor)


def test_identity_wants_equal_shapes_and_an_unknown_kind_names_a_close_one() -> None:
    with pytest.raises(UserError, match=r"probe 'p' pairs \[3\] \(mentee\) with \[4\] .*adapter=identity cannot"):
        Adapter.between("p", (3,), (4,), "identity")
    with pytest.raises(UserError, match=r"probe 'p' asks for the adapter 'regresor'; did you mean 'regressor'"):
        Adapter.between("p", (3,), (4,), "regresor")


def fitted(adapter: Adapter, activation: Tensor) -> Adapter:
    """Measured on one batch of the mentor's activations, in two parts."""
    moments = Moments()
    for part in activation.split(20):
        moments.add(adapter.mentor_map(part), crossed=adapter.kind in OF_COVARIANCE)
    return with_moments(adapter, moments) if adapter.measured() else adapter


def rows(activation: Tensor) -> np.ndarray:
    """[B, C, H, W] -> [N, C], every position a sample."""
    return np.moveaxis(activation.numpy(), 1, -1).reshape(-1, activation.shape[1])


def test_normalised_targets_have_the_mean_and_std_of_the_mentors_channels_taken_away() -> None:
    scales = torch.tensor([1.0, 5, 2, 7]).view(4, 1, 1)
    given = (normal(40, 4, 6, 6) * scales + 3 * scales).float()
    adapter = fitted(Adapter.between("p", (3, 3, 3), (4, 6, 6), normalise=True), given)
    pooled = adapted(given.numpy(), (3, 3, 3))
    mean, std = pooled.mean((0, 2, 3)), pooled.std((0, 2, 3))
    target = adapter.from_mentor(given)
    np.testing.assert_allclose(rows(target), (rows(torch.from_numpy(pooled)) - mean) / std, atol=1e-5)
    np.testing.assert_allclose(rows(target).std(0), 1, rtol=1e-5)
    mentee = normal(2, 3, 3, 3, seed=1).float()
    np.testing.assert_allclose(rows(MenteeSide(adapter)(mentee)), (rows(mentee) - mean) / std, rtol=1e-4, atol=1e-5)


def test_a_channel_that_hardly_moves_does_not_outweigh_the_others_and_a_dead_mentor_divides_by_one() -> None:
    given = normal(100, 3).float() * torch.tensor([1.0, 1.0, 1e-6])
    adapter = fitted(Adapter.between("p", (3,), (3,), normalise=True), given)
    std = given.double().std(0, correction=0)
    floor = 0.1 * float((std**2).mean().sqrt())
    np.testing.assert_allclose(adapter.constants.tensors["std"].numpy(), [std[0], std[1], floor], rtol=1e-5)
    dead = fitted(Adapter.between("p", (3,), (3,), normalise=True), torch.zeros(10, 3))
    assert dead.constants.tensors["std"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("normalise", [False, True])
def test_pca_targets_are_the_scores_along_numpys_principal_axes(normalise: bool) -> None:
    mixed = torch.einsum("bchw,dc->bdhw", normal(60, 6, 4, 4), normal(6, 6, seed=1)) + 2
    adapter = fitted(Adapter.between("p", (3, 4, 4), (6, 4, 4), "pca", normalise), mixed.float())
    assert adapter.shape == (3, 4, 4)
    given = rows(mixed)
    _, _, axes = np.linalg.svd(given - given.mean(0), full_matrices=False)
    expected = given @ axes[:3].T
    expected *= np.sign(expected.mean(0))
    if normalise:
        expected = (expected - expected.mean(0)) / expected.std(0)
    else:
        assert (expected.mean(0) > 0).all()
    np.testing.assert_allclose(rows(adapter.from_mentor(mixed.float())), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"), [((3, 4, 4), (6, 4, 4)), ((3,), (6,)), ((6, 4, 4), (6, 4, 4)), ((8, 4, 4), (6, 4, 4))]
)
def test_a_projector_learns_the_way_from_the_mentees_channels_to_the_pcas_targets(
    ours: tuple[int, ...], theirs: tuple[int, ...], normalise: bool
) -> None:
    mixed = normal(60, *theirs).float()
    turned, axes = (fitted(Adapter.between("p", ours, theirs, kind, normalise), mixed) for kind in ("projector", "pca"))
    assert torch.equal(turned.from_mentor(mixed), axes.from_mentor(mixed))
    side = MenteeSide(turned)
    weight_KC, bias_K = (value.detach().double().numpy() for value in (side.weight.flatten(1), side.bias))
    assert weight_KC.shape == (min(ours[0], theirs[0]), ours[0])  # all of the mentee's channels take part
    given = normal(5, *ours)
    expected = np.einsum("kc,bc...->bk...", weight_KC, given.numpy()) + bias_K.reshape(-1, *[1] * (len(ours) - 1))
    np.testing.assert_allclose(side(given.float()).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert all(parameter.requires_grad for parameter in side.parameters())
    assert not any(
        p.requires_grad for p in MenteeSide(turned.with_constants(**dict(side.named_parameters()))).parameters()
    )


def left_of(mentor: np.ndarray, channels: list[int]) -> float:
    """The variance of [N, C] that least squares on some of its channels leave, by brute force."""
    centred = mentor - mentor.mean(0)
    back, *_ = np.linalg.lstsq(centred[:, channels], centred, rcond=None)
    return float(((centred - centred[:, channels] @ back) ** 2).sum())


@pytest.mark.parametrize("normalise", [False, True])
def test_selected_channels_are_each_the_one_that_leaves_the_least_of_the_mentor(normalise: bool) -> None:
    mixed = torch.einsum("bchw,dc->bdhw", normal(60, 4, 3, 3), normal(7, 4, seed=1)) + 0.3 * normal(60, 7, 3, 3, seed=2)
    mixed = mixed * torch.tensor([1.0, 3, 1, 1, 2, 1, 3]).view(7, 1, 1)
    adapter = fitted(Adapter.between("p", (4, 3, 3), (7, 3, 3), "select", normalise), mixed.float())
    chosen: list[int] = []
    for _ in range(4):
        open_ones = [channel for channel in range(7) if channel not in chosen]
        compared = rows(mixed) / (rows(mixed).std(0) if normalise else 1)
        chosen.append(min(open_ones, key=lambda one: left_of(compared, [*chosen, one])))
    assert adapter.constants.tensors["channels"].tolist() == chosen
    expected = rows(mixed)[:, chosen]
    if normalise:
        expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(rows(adapter.from_mentor(mixed.float())), expected, rtol=1e-3, atol=1e-3)


def test_a_selection_repeats_no_channel_where_nothing_is_left_to_explain() -> None:
    one = normal(50, 1).float()
    copies = torch.cat([torch.zeros(50, 1), one, 2 * one, -one], 1)
    for mentee, given in ((3, copies), (2, torch.ones(50, 4))):
        channels = fitted(Adapter.between("p", (mentee,), (4,), "select"), given).constants.tensors["channels"].tolist()
        assert len(set(channels)) == mentee
        if given is copies:
            assert channels[0] in (1, 2, 3)


@pytest.mark.parametrize("mentee", [4, 5])
def test_a_mentee_with_the_mentors_channels_selects_none_of_them(mentee: int) -> None:
    adapter = Adapter.between("p", (mentee, 2, 2), (4, 2, 2), "select")
    assert (adapter.kind, adapter.shape, adapter.measured()) == ("slice", (4, 2, 2), False)


def test_a_pca_and_a_selection_keep_more_of_the_mentor_than_a_slice() -> None:
    """The share of variance a linear map back from the target explains."""
    mixed = (normal(300, 2, seed=2) @ normal(2, 8, seed=3) + 0.1 * normal(300, 8, seed=4)).float()
    explained = {}
    for kind in ("slice", "select", "pca"):
        target = fitted(Adapter.between("p", (2,), (8,), kind), mixed).from_mentor(mixed).numpy()
        centred, wanted = target - target.mean(0), (mixed - mixed.mean(0)).numpy()
        back, *_ = np.linalg.lstsq(centred, wanted, rcond=None)
        explained[kind] = 1 - ((wanted - centred @ back) ** 2).sum() / (wanted**2).sum()
    assert explained["pca"] > 0.95
    assert explained["pca"] > explained["select"] > explained["slice"]


@pytest.mark.parametrize(("mentee", "mentor"), [((3, 8, 8), (5, 4, 4)), ((3,), (5,)), ((17, 3), (5, 4, 4))])
def test_a_regressors_output_and_gradients_are_those_of_torchs_layer(
    mentee: tuple[int, ...], mentor: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    side = MenteeSide(Adapter.between("p", mentee, mentor, "regressor")).double()
    layer = (nn.Conv2d(3, 5, 1) if len(mentor) == 3 else nn.Linear(3, 5)).double()
    layer.load_state_dict(side.state_dict())
    given = normal(4, *mentee).requires_grad_()
    again = given.detach().clone().requires_grad_()
    arranged = again
    if len(mentee) == 2:
        arranged = again[:, 1:].permute(0, 2, 1).unflatten(2, (4, 4))
    elif len(mentee) == 3:
        arranged = nn.functional.avg_pool2d(again, 2)
    target = normal(4, *mentor, seed=1)
    for out in (side(given), layer(arranged)):
        (out - target).square().mean().sqrt().backward()
    torch.testing.assert_close(side(given), layer(arranged))
    torch.testing.assert_close(given.grad, again.grad)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(side.get_parameter(name).grad, parameter.grad)
    assert float(side.bias.grad.abs().max()) > 0  # type: ignore[union-attr]


KINDS: list[dict[str, Any]] = [
    {"adapter": kind, "normalise": normalise}
    for kind in ("slice", "select", "regressor", "pca", "projector")
    for normalise in (False, True)
]


@pytest.mark.parametrize("how", KINDS, ids=lambda how: how["adapter"] + (" normalised" if how["normalise"] else ""))
def test_under_the_probes_alone_neither_side_goes_to_zero_and_the_targets_do_not_move(how: dict[str, Any]) -> None:
    torch.manual_seed(0)
    mentor, mentee = ResidualNet(1, 3, widths=(6, 8)), PlainCNN(1, 3, widths=(4, 6))
    x = torch.randn(24, 1, 8, 8)
    with torch.no_grad():
        for _ in range(5):
            mentor(x)  # moves BatchNorm's statistics, so that the activations are of a usual size in eval mode
    pairs = {"early": ["stages.0", "features.0"], "late": ["stages.1", "features.1"]}
    pairs_: dict[str, Any] = {
        name: dict(zip(("mentor", "mentee"), pair, strict=True)) | how for name, pair in pairs.items()
    }
    probes = measure_probes(find_probes(pairs_, mentor.eval(), x[:2], mentee, x[:2]), mentor, [x])
    probed = ProbedMentee(mentee, probes, "head").train()
    optimizer = torch.optim.AdamW(probed.parameters(), lr=0.01)

    def targets() -> dict[str, Tensor]:
        with torch.no_grad():
            inner = {"early": mentor.stages[0](mentor.stem(x))}
            inner["late"] = mentor.stages[1](inner["early"])
            return {probe.name: probe.adapter.from_mentor(inner[probe.name]) for probe in probes}

    before = targets()
    losses = []
    for _ in range(40):
        seen = probed(x).activations
        loss = sum((((seen[name] - before[name]) ** 2).mean() + 1e-12).sqrt() for name in before)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        losses.append(float(loss.detach()))  # type: ignore[union-attr]
    assert losses[-1] < 0.9 * losses[0]
    after = targets()
    for name in before:
        assert torch.equal(before[name], after[name])
        spread = float(before[name].std(0).mean())
        assert spread > 0.05
        assert float(seen[name].detach().std(0).mean()) > 0.2 * spread  # answers differ from sample to sample
    assert not any(
        parameter.requires_grad for probe in probes for parameter in probe.adapter.constants.tensors.values()
    )
    trained = {name for name, _ in probed.named_parameters() if name.startswith("adapters.")}
    learned = {f"adapters.{name}.{part}" for name in pairs for part in ("weight", "bias")}
    assert trained == (learned if how["adapter"] in LEARNED else set())


def test_learned_regressors_come_back_fixed_and_answer_alike() -> None:
    torch.manual_seed(0)
    mentee = PlainCNN(1, 3, widths=(4,)).eval()
    probe = Probe("p", "layer", "features.0", Adapter.between("p", (4, 8, 8), (7, 4, 4), "regressor"))
    probed = ProbedMentee(mentee, [probe], "head")
    assert probed.probes == [probe]
    (learned,) = probed.learned_probes()
    again = ProbedMentee(mentee, [learned], "head")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(probed(x).activations["p"], again(x).activations["p"])
    assert not any(p.requires_grad for name, p in again.named_parameters() if name.startswith("adapters."))
    assert again.learned_probes() == [learned]
    assert learned != probe
    assert replace(learned, adapter=replace(learned.adapter, constants=Constants())) == probe


def test_constants_compare_by_value_and_print_what_they_are() -> None:
    one, same, other = (Constants({"mean": torch.tensor([1.0, value])}) for value in (2, 2, 3))
    assert one == same
    assert one != other
    assert repr(one) == repr(same) != repr(other)
    assert Constants() == Constants({})


class ChannelsLast(nn.Module):
    """One convolution whose map [B, C, H, W] a layer puts out as [B, H, W, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(channels)
        self.conv, self.tap, self.head = nn.Conv2d(1, channels, 3, padding=1), Permuted(), nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.tap(self.conv(x)).mean((1, 2)))
        return logits


class Permuted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize("kind", ["slice", "select", "pca", "regressor", "projector"])
@pytest.mark.parametrize("image", [(8, 8), (6, 10)])
@pytest.mark.parametrize("last", [(True, False), (False, True), (True, True)], ids=["mentor", "mentee", "both"])
def test_channels_that_stand_last_are_compared_as_if_they_stood_first(
    kind: str, image: tuple[int, int], last: tuple[bool, bool]
) -> None:
    """The reference is the same two nets, tapped where the channels stand first."""
    mentor, mentee = ChannelsLast(5), ChannelsLast(3)
    x = torch.randn(4, 1, *image, generator=torch.Generator().manual_seed(0))
    compared = []
    for tapped in (last, (False, False)):
        pair = {side: "tap" if is_last else "conv" for side, is_last in zip(("mentor", "mentee"), tapped, strict=True)}
        probes = find_probes({"p": pair | {"adapter": kind}}, mentor, x, mentee, x)
        (probe,) = measure_probes(probes, mentor, [x])
        assert (probe.adapter.mentor, probe.adapter.mentee) == ((5, *image), (3, *image))
        torch.manual_seed(0)  # of the regressor
        ours = ProbedMentee(mentee, [probe], "head")(x).activations["p"]
        _, outputs, _ = Taps(mentor, outputs=[pair["mentor"]])(x)
        compared.append((ours, probe.adapter.from_mentor(outputs[pair["mentor"]])))
    for found, expected in zip(*compared, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("shape", "image", "last"),
    [
        ((8, 8, 192), (64, 64), True),  # a swin's stage
        ((7, 7, 768), (224, 224), True),
        ((192, 8, 8), (64, 64), False),
        ((8, 8, 8), (64, 64), False),  # a cube: channels first is the rule
        ((8, 8, 9), (64, 64), True),
        ((4, 10, 16), (64, 160), True),
        ((16, 4, 10), (64, 160), False),
        ((8, 8, 20), (64, 160), False),  # a spectrogram's map of 8 channels
        ((2, 1, 16), (1, 32), False),  # signals
        ((1, 1, 50), (1, 50), False),
        ((1, 1, 25), (1, 50), False),
        ((12, 64), (64, 64), False),  # tokens
    ],
)
def test_where_the_channels_stand_is_read_off_the_images_proportions(
    shape: tuple[int, ...], image: tuple[int, int], last: bool
) -> None:
    assert channels_last(shape, image) is last


@pytest.mark.parametrize(
    ("mentee", "mentor", "metric", "kind"),
    [
        ((4, 8, 8), (9, 8, 8), "rmse", "projector"),
        ((4, 8, 8), (4, 8, 8), "rmse", "regressor"),
        ((9, 8, 8), (4, 16, 16), "l1", "regressor"),
        ((3,), (5, 4, 4), "cosine", "projector"),
        ((4, 8, 8), (17, 64), "l2", "projector"),  # a grid of 4 × 4 tokens and a class token
        ((7, 3), (7, 3), "rmse", "identity"),  # no square
        ((4, 8, 8), (9, 8, 8), "attention", "energy"),
        ((4, 8, 8), (9, 8, 8), "similarity", "whole"),
    ],
)
def test_auto_in_a_run_learns_the_way_between_the_channels_where_there_is_one(
    mentee: tuple[int, ...], mentor: tuple[int, ...], metric: str, kind: str
) -> None:
    assert Adapter.between("p", mentee, mentor, learned_kind(mentee, mentor, metric), metric=metric).kind == kind
