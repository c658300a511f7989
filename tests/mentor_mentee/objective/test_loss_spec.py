"""Names of losses: each has its function, and a wrong one is one line."""

from typing import Any, NamedTuple

import pytest

from mentor_mentee.errors import UserError
from mentor_mentee.objective import probe_metrics, softmax_losses
from mentor_mentee.objective.loss_spec import PROBE_METRICS, SOFTMAX_LOSSES, LossSpec
from mentor_mentee.objective.probe_spec import OF_METRIC


class Sides(NamedTuple):
    shape: tuple[int, ...]
    kind: str = "slice"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probe": "rsme"}, r"^loss\.probe=rsme; expected rmse, l1, .*; did you mean 'rmse'\?$"),
        ({"probe": "kl"}, r"^loss\.probe=kl; expected rmse"),
        ({"softmax": "dkdd"}, r"^loss\.softmax=dkdd; expected kl, prob_rmse, dkd, dist; did you mean 'dkd'\?$"),
        ({"softmax": None}, r"^loss\.softmax=None; expected kl"),
        ({"standardise": "yes"}, r"^loss\.standardise='yes'; expected true or false$"),
    ],
)
def test_a_name_that_is_none_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LossSpec(**options)


def test_every_name_has_its_function() -> None:
    for names, module in ((PROBE_METRICS, probe_metrics), (SOFTMAX_LOSSES, softmax_losses)):
        functions = {getattr(module, name) for name in names}
        assert len(functions) == len(names)
        assert {function.__module__ for function in functions} == {module.__name__}


def test_the_terms_of_the_default_are_the_papers() -> None:
    assert LossSpec().term_names(["early", "late"]) == ["ce", "rmse_early", "rmse_late", "kl"]
    assert LossSpec().formula() == (
        "alpha*CE(labels) + beta*sum_p RMSE(mentee_p, mentor_p) + gamma*T^2*KL(mentor softmax || mentee softmax)"
    )


def test_no_two_terms_share_a_name() -> None:
    for probe in PROBE_METRICS:
        for softmax in SOFTMAX_LOSSES:
            names = ["loss", "logits", "embedding", *LossSpec(probe, softmax).term_names(["p", "rmse", "prob"])]
            assert len(set(names)) == len(names)


def test_the_formula_says_where_the_square_of_the_temperature_is() -> None:
    assert LossSpec("l1", "prob_rmse", True).formula() == (
        "alpha*CE(labels) + beta*sum_p L1(mentee_p, mentor_p) + gamma*RMSE(mentee softmax, mentor softmax), "
        "logits as z-scores over the classes"
    )
    for name in ("kl", "dkd", "dist"):
        assert "gamma*T^2*" in LossSpec(softmax=name).formula()


@pytest.mark.parametrize("shape", [(6,), (6, 1, 1)])
def test_attention_of_one_position_is_refused_since_it_is_always_0(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"probe 'late' compares \[6.*\], which has one position"):
        LossSpec("attention").check_probes({"early": Sides((3, 4, 4)), "late": Sides(shape)})
    LossSpec("attention").check_probes({"early": Sides((3, 4, 4)), "signal": Sides((1, 1, 7), "energy")})
    LossSpec("cosine").check_probes({"late": Sides(shape)})


@pytest.mark.parametrize(("metric", "kind"), OF_METRIC.items())
def test_sides_that_only_one_metric_can_compare_are_refused_under_any_other(metric: str, kind: str) -> None:
    for name in PROBE_METRICS:
        if name == metric:
            LossSpec(name).check_probes({"p": Sides((1, 4, 4), kind)})
            continue
        with pytest.raises(
            UserError, match=rf"probe 'p' has adapter={kind}, .* only loss\.probe={metric}.*={name}; choose"
        ):
            LossSpec(name).check_probes({"p": Sides((1, 4, 4), kind)})
