"""The loss against numbers computed by hand and against loops in numpy float64.

Axes: B samples, K classes, C channels, H W space.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mentor_mentee.objective.loss import LossSpec, Terms, cross_entropy, mentee_loss
from mentor_mentee.objective.masked import masked_mean
from mentor_mentee.objective.probe_metrics import rmse as rmse_of
from mentor_mentee.objective.softmax_losses import kl as kl_of

B, K = 5, 4
KNOBS = {"alpha": 0.7, "beta": 1.3, "gamma": 0.4, "temperature": 3.0}
MASKS = {  # (labelled, supervised) of five samples
    "labelled only": ([1, 1, 1, 1, 1], [0, 0, 0, 0, 0]),
    "supervised only": ([0, 0, 0, 0, 0], [1, 1, 1, 1, 1]),
    "mixed": ([1, 0, 1, 0, 0], [0, 1, 1, 0, 1]),
    "one of each": ([0, 0, 0, 0, 1], [1, 0, 0, 0, 0]),
    "fractional weights": ([0.5, 0, 4, 1, 0.25], [2, 0.125, 0, 1, 0.5]),
    "neither": ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
}


def batch(labelled: list[float], supervised: list[float], dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Arguments of `mentee_loss`, at random; unlabelled samples have label −1."""
    generator = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    labelled_B = torch.tensor(labelled, dtype=dtype)
    labels_B = torch.randint(0, K, (B,), generator=generator).where(labelled_B > 0, torch.tensor(-1))
    shapes = {"early": (B, 3, 4, 2), "late": (B, 6)}
    return {
        "logits_BK": 2 * noise(B, K),
        "activations": {name: noise(*shape) for name, shape in shapes.items()},
        "labels_B": labels_B,
        "labelled_B": labelled_B,
        "mentor_logits_BK": 3 * noise(B, K),
        "mentor_activations": {name: noise(*shape) for name, shape in shapes.items()},
        "supervised_B": torch.tensor(supervised, dtype=dtype),
        **{name: torch.tensor([value], dtype=dtype) for name, value in KNOBS.items()},
    }


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def by_loops(given: dict[str, Any]) -> dict[str, float]:
    """Every term sample by sample and element by element, from its definition."""
    logits, mentor = given["logits_BK"].numpy(), given["mentor_logits_BK"].numpy()
    labels, labelled, supervised = (given[name].numpy() for name in ("labels_B", "labelled_B", "supervised_B"))
    temperature = float(given["temperature"])
    terms = {"ce": 0.0, "kl": 0.0}
    for b in range(B):
        if labelled[b] > 0:
            terms["ce"] -= labelled[b] * math.log(softmax(logits[b])[labels[b]]) / labelled.sum()
        if supervised[b] > 0:
            taught, learned = softmax(mentor[b] / temperature), softmax(logits[b] / temperature)
            divergence = sum(taught[k] * math.log(taught[k] / learned[k]) for k in range(K))
            terms["kl"] += supervised[b] * divergence / supervised.sum()
    for name, activation in given["activations"].items():
        square_sum, count = 0.0, 0.0
        for b in range(B):
            for ours, theirs in zip(
                activation[b].flatten().tolist(), given["mentor_activations"][name][b].flatten().tolist(), strict=True
            ):
                square_sum += supervised[b] * (ours - theirs) ** 2
                count += supervised[b]
        terms[name] = math.sqrt(square_sum / count) if count else 0.0
    terms["loss"] = KNOBS["alpha"] * terms["ce"] + KNOBS["beta"] * (terms["early"] + terms["late"])
    terms["loss"] += KNOBS["gamma"] * KNOBS["temperature"] ** 2 * terms["kl"]
    return terms


def flat(terms: Terms) -> dict[str, float]:
    named = {"loss": terms.loss, "ce": terms.ce, "kl": terms.softmax} | terms.probes
    return {name: float(value.detach()) for name, value in named.items()}


@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS.keys())
def test_every_term_equals_loops_over_the_samples_that_count(masks: tuple[list[float], list[float]]) -> None:
    given = batch(*masks)
    terms = mentee_loss(**given)
    assert flat(terms) == pytest.approx(by_loops(given), rel=1e-9, abs=5e-6)  # the root's epsilon costs 1e-6 a probe
    assert all(value.shape == (1,) for value in (terms.loss, terms.ce, terms.softmax, *terms.probes.values()))


@pytest.mark.parametrize("softmax", ["kl", "dkd", "dist", "prob_rmse"])
def test_without_weights_every_answer_counts_alike(softmax: str) -> None:
    given, spec = batch(*MASKS["supervised only"]), LossSpec(softmax=softmax)
    told, untold = (mentee_loss(**given | {"supervised_B": given_B}, spec=spec) for given_B in (torch.ones(B), None))
    assert flat(untold) == pytest.approx(flat(told), rel=1e-7)


def test_terms_of_a_batch_worked_out_by_hand() -> None:
    terms = mentee_loss(
        logits_BK=torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]]),  # softmax (1/4, 3/4) and (1/2, 1/2)
        activations={"p": torch.tensor([[1.0, 2.0], [3.0, 4.0]])},
        labels_B=torch.tensor([1, 0]),
        labelled_B=torch.ones(2),
        mentor_logits_BK=torch.tensor([[0.0, 0.0], [0.0, 0.0]]),
        mentor_activations={"p": torch.tensor([[1.0, 2.0], [3.0, 0.0]])},
        supervised_B=torch.ones(2),
        alpha=torch.tensor([2.0]),
        beta=torch.tensor([3.0]),
        gamma=torch.tensor([5.0]),
        temperature=torch.tensor([1.0]),
    )
    ce = (math.log(4 / 3) + math.log(2)) / 2
    rmse = 2.0  # (0 + 0 + 0 + 16) / 4 = 4
    kl = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 2
    expected = {"ce": ce, "p": rmse, "kl": kl, "loss": 2 * ce + 3 * rmse + 5 * kl}
    assert flat(terms) == pytest.approx(expected, rel=1e-5)


def test_probes_weigh_as_they_are_told_and_are_shown_unweighed() -> None:
    given = batch([1] * B, [1] * B)
    plain, weighed = mentee_loss(**given), mentee_loss(**given, weights={"late": 2.5})
    more = KNOBS["beta"] * 1.5 * float(plain.probes["late"])
    assert float(weighed.loss) == pytest.approx(float(plain.loss) + more, rel=1e-9)
    assert flat(weighed) | {"loss": 0} == flat(plain) | {"loss": 0}


def test_rmse_is_one_mean_with_the_root_outside() -> None:
    mentee, mentor = torch.zeros(2, 2, 1, 2), torch.zeros(2, 2, 1, 2)
    mentee[0, 0, 0, 0] = 8.0
    value = float(rmse_of(mentee, mentor, torch.ones(2)))
    assert value == pytest.approx(math.sqrt(64 / 8), abs=1e-5)
    root_per_sample = (math.sqrt(64 / 4) + 0) / 2
    root_per_channel = (math.sqrt(64 / 4) + 0) / 2
    assert abs(value - root_per_sample) > 0.5
    assert abs(value - root_per_channel) > 0.5


def test_cross_entropy_and_kl_equal_torch_on_a_full_batch() -> None:
    given = batch([1] * B, [1] * B)
    ours, theirs, temperature = given["logits_BK"], given["mentor_logits_BK"], given["temperature"]
    terms = mentee_loss(**given)
    torch.testing.assert_close(terms.ce[0], F.cross_entropy(ours, given["labels_B"]))
    reference = F.kl_div(
        F.log_softmax(ours / temperature, 1),
        F.log_softmax(theirs / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    torch.testing.assert_close(terms.softmax[0], reference)
    only_kl = mentee_loss(**given | {name: torch.zeros(1, dtype=torch.float64) for name in ("alpha", "beta")})
    torch.testing.assert_close(only_kl.loss[0], KNOBS["gamma"] * 9.0 * reference)  # T² = 9


def test_a_masked_label_changes_nothing_whatever_it_is() -> None:
    given = batch(*MASKS["mixed"])
    hidden = given["labelled_B"] == 0
    assert (given["labels_B"][hidden] == -1).all()
    for label in range(K):
        other = given | {"labels_B": given["labels_B"].where(~hidden, torch.tensor(label))}
        assert flat(mentee_loss(**other)) == flat(mentee_loss(**given))


def test_a_masked_mentor_answer_changes_nothing_whatever_it_is() -> None:
    given = batch(*MASKS["mixed"])
    hidden = (given["supervised_B"] == 0).nonzero()[:, 0]
    other = given | {"mentor_logits_BK": given["mentor_logits_BK"].index_fill(0, hidden, 55.0)}
    other["mentor_activations"] = {n: a.index_fill(0, hidden, -7.0) for n, a in given["mentor_activations"].items()}
    assert flat(mentee_loss(**other)) == flat(mentee_loss(**given))
    shown = given | {"mentor_logits_BK": given["mentor_logits_BK"].index_fill(0, torch.tensor([1]), 55.0)}
    assert flat(mentee_loss(**shown))["kl"] != flat(mentee_loss(**given))["kl"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_where_nothing_counts_the_loss_is_0_and_so_are_its_gradients(dtype: torch.dtype) -> None:
    given = batch(*MASKS["neither"], dtype=dtype)
    leaves = [given["logits_BK"].requires_grad_(), *(a.requires_grad_() for a in given["activations"].values())]
    terms = mentee_loss(**given)
    assert flat(terms) == pytest.approx(dict.fromkeys(flat(terms), 0.0), abs=1e-8)
    for gradient in torch.autograd.grad(terms.loss.sum(), leaves):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_masked_mean_of_nothing_is_0() -> None:
    assert masked_mean(torch.tensor([3.0, 4.0]), torch.zeros(2)).tolist() == [0.0]
    assert masked_mean(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 3.0])).tolist() == [3.75]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_activations_are_exactly_0_with_a_finite_gradient(dtype: torch.dtype) -> None:
    mentee = torch.randn(4, 3, 2, 2, dtype=dtype).requires_grad_()
    value = rmse_of(mentee, mentee.detach().clone(), torch.ones(4, dtype=dtype))
    assert value.tolist() == [0.0]
    (gradient,) = torch.autograd.grad(value.sum(), mentee)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_extreme_logits_stay_finite(dtype: torch.dtype, temperature: float) -> None:
    given = batch([1] * B, [1] * B, dtype=dtype) | {"temperature": torch.tensor([temperature], dtype=dtype)}
    given["logits_BK"] = torch.full((B, K), -1e4, dtype=dtype)
    given["logits_BK"][:, 0] = 1e4
    given["logits_BK"].requires_grad_()
    given["mentor_logits_BK"] = torch.full((B, K), -1e4, dtype=dtype)
    given["mentor_logits_BK"][:, 1] = 1e4
    given["labels_B"] = torch.full((B,), 2)
    terms = mentee_loss(**given)
    (gradient,) = torch.autograd.grad(terms.loss.sum(), given["logits_BK"])
    assert torch.isfinite(gradient).all()
    assert flat(terms)["ce"] == pytest.approx(2e4, rel=0.01)
    assert flat(terms)["kl"] == pytest.approx(2e4 / temperature, rel=0.01)


def test_gradients_scale_with_the_knob_of_their_term() -> None:
    given = batch([1] * B, [1] * B)
    early = given["activations"]["early"].requires_grad_()
    logits = given["logits_BK"].requires_grad_()

    def gradient(of: Tensor, **knobs: float) -> Tensor:
        named = dict.fromkeys(("alpha", "beta", "gamma"), 0.0) | knobs
        tensors = {name: torch.tensor([value], dtype=torch.float64) for name, value in named.items()}
        return torch.autograd.grad(mentee_loss(**given | tensors).loss.sum(), of, allow_unused=True)[0]

    for leaf, knob in ((early, "beta"), (logits, "alpha"), (logits, "gamma")):
        once = gradient(leaf, **{knob: 1.0})
        assert once.abs().max() > 1e-3
        torch.testing.assert_close(gradient(leaf, **{knob: 2.5}), 2.5 * once)
    together = gradient(logits, alpha=1.0, gamma=1.0)
    torch.testing.assert_close(together, gradient(logits, alpha=1.0) + gradient(logits, gamma=1.0))


def test_knobs_are_differentiable_inputs_not_constants() -> None:
    given = batch(*MASKS["mixed"])
    knobs = [given[name].requires_grad_() for name in ("alpha", "beta", "gamma")]
    terms = mentee_loss(**given)
    alpha, beta, gamma = torch.autograd.grad(terms.loss.sum(), knobs)
    torch.testing.assert_close(alpha, terms.ce)
    torch.testing.assert_close(beta, sum(terms.probes.values()))
    torch.testing.assert_close(gamma, 9.0 * terms.softmax)


def test_gradients_equal_finite_differences() -> None:
    given = batch(*MASKS["fractional weights"])
    logits, early = given["logits_BK"].requires_grad_(), given["activations"]["early"].requires_grad_()

    def loss(logits_BK: Tensor, early: Tensor) -> Tensor:
        activations = given["activations"] | {"early": early}
        return mentee_loss(**given | {"logits_BK": logits_BK, "activations": activations}).loss

    assert torch.autograd.gradcheck(loss, (logits, early))
    weight_B = given["supervised_B"]
    assert torch.autograd.gradcheck(lambda x: rmse_of(x, given["mentor_activations"]["early"], weight_B), (early,))
    mentor_BK, temperature = given["mentor_logits_BK"], given["temperature"].requires_grad_()
    assert torch.autograd.gradcheck(lambda x, t: kl_of(x / t, mentor_BK / t, weight_B), (logits, temperature))
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, given["labels_B"], given["labelled_B"]), (logits,))


def test_without_probes_the_loss_is_labels_and_softmax() -> None:
    given = batch([1] * B, [1] * B) | {"activations": {}, "mentor_activations": {}}
    terms = mentee_loss(**given)
    assert terms.probes == {}
    torch.testing.assert_close(terms.loss, KNOBS["alpha"] * terms.ce + KNOBS["gamma"] * 9 * terms.softmax)


SPECS = [
    LossSpec("l1", "prob_rmse"),
    LossSpec("l2", "dkd", True),
    LossSpec("cosine", "dist"),
    LossSpec("attention"),
    LossSpec("similarity", "kl", True),
]


def maps(given: dict[str, Any]) -> dict[str, Any]:
    """A loss with both probes comparing maps, as attention asks for."""
    return given | {
        kind: {"early": given[kind]["early"], "late": given[kind]["late"].reshape(B, 3, 2)}
        for kind in ("activations", "mentor_activations")
    }


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("masks", [MASKS["mixed"], MASKS["neither"]], ids=["mixed", "neither"])
def test_the_loss_is_its_terms_under_their_public_names(masks: tuple[list[float], list[float]], spec: LossSpec) -> None:
    given = maps(batch(*masks))
    named = mentee_loss(**given, spec=spec).named(spec)
    assert list(named) == ["loss", "ce", f"{spec.probe}_early", f"{spec.probe}_late", spec.softmax]
    t_squared = 1 if spec.softmax == "prob_rmse" else 9
    loss, ce, early, late, softmax = (float(value) for value in named.values())
    assert loss == pytest.approx(0.7 * ce + 1.3 * (early + late) + 0.4 * t_squared * softmax, rel=1e-12)
    assert (early > 0 and late > 0 and softmax > 0) if any(masks[1]) else (loss, early, late, softmax) == (0, 0, 0, 0)


@pytest.mark.parametrize("spec", [LossSpec("rmse", name, True) for name in ("kl", "prob_rmse", "dkd", "dist")], ids=str)
def test_standardised_logits_have_no_shift_and_no_scale(spec: LossSpec) -> None:
    given = batch(*MASKS["mixed"])
    scale_B1, shift_B1 = torch.linspace(0.2, 40, B).unsqueeze(1), torch.linspace(-7, 300, B).unsqueeze(1)
    for side in ("logits_BK", "mentor_logits_BK"):
        other = given | {side: given[side] * scale_B1 + shift_B1}
        torch.testing.assert_close(mentee_loss(**other, spec=spec).softmax, mentee_loss(**given, spec=spec).softmax)
        assert float(mentee_loss(**other).softmax) != pytest.approx(float(mentee_loss(**given).softmax), rel=0.1)


def test_standardised_logits_by_hand() -> None:
    """(1, 3) has mean 2 and standard deviation 1, (0, 8) mean 4 and 4: both are (−1, 1), and the divergence is 0."""
    given = batch([1] * B, [1] * B) | {"activations": {}, "mentor_activations": {}, "labels_B": torch.zeros(B).long()}
    given |= {
        "logits_BK": torch.tensor([[1.0, 3.0]] * B).double(),
        "mentor_logits_BK": torch.tensor([[0.0, 8.0]] * B).double(),
    }
    assert float(mentee_loss(**given, spec=LossSpec(standardise=True)).softmax) == pytest.approx(0, abs=1e-12)
    given["mentor_logits_BK"] = given["mentor_logits_BK"].flip(1)
    p = math.exp(1 / 3) / (math.exp(1 / 3) + math.exp(-1 / 3))  # T = 3
    expected = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    assert float(mentee_loss(**given, spec=LossSpec(standardise=True)).softmax) == pytest.approx(expected)


def test_the_target_of_dkd_is_the_label_or_else_the_mentors_choice() -> None:
    spec = LossSpec("rmse", "dkd")
    given = batch([1, 0, 1, 0, 0], [1] * B)
    chosen_B = given["mentor_logits_BK"].argmax(1)
    labels_B = torch.where(given["labelled_B"] > 0, (chosen_B + 1) % K, -1)
    both_B = torch.where(given["labelled_B"] > 0, labels_B, chosen_B)
    found = mentee_loss(**given | {"labels_B": labels_B}, spec=spec).softmax
    told = mentee_loss(**given | {"labels_B": both_B, "labelled_B": torch.ones(B)}, spec=spec).softmax
    assert torch.equal(found, told)
    obeyed = mentee_loss(**given | {"labels_B": chosen_B, "labelled_B": torch.ones(B)}, spec=spec).softmax
    assert abs(float(obeyed - found)) > 1e-3


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_of_mixed_samples_are_torchs_soft_targets(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(2)
    logits_BK = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    label_B, other_B = torch.tensor([0, 1, 2, 3, -1, -1]), torch.tensor([1, 1, 3, 0, -1, -1])
    one = torch.ones(1, dtype=torch.float64)
    found = mentee_loss(
        logits_BK,
        {},
        labels_B=label_B,
        labelled_B=(label_B >= 0).double(),
        mentor_logits_BK=logits_BK,
        mentor_activations={},
        supervised_B=torch.zeros(6, dtype=torch.float64),
        alpha=one,
        beta=one,
        gamma=one,
        temperature=one,
        label_smoothing=smoothing,
        other_labels_B=other_B,
        label_share=0.7,
    )
    hot = torch.eye(4, dtype=torch.float64)
    soft_BK = 0.7 * hot[label_B[:4]] + 0.3 * hot[other_B[:4]]
    expected = torch.nn.functional.cross_entropy(logits_BK[:4], soft_BK, label_smoothing=smoothing)
    torch.testing.assert_close(found.ce, expected.view(1))
    torch.testing.assert_close(found.loss, expected.view(1))
