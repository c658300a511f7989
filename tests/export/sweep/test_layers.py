"""Every layer and setting of the site's table is proved to train on the device or refused in one line, and none dies."""

from collections import defaultdict

import pytest

from benchmarks.bundles.layers.table import GROUPS, LINE, OPERATOR, PROVED, STOCK_ALONE, Verdict
from benchmarks.bundles.layers.trial import tried
from mentor_mentee.errors import UserError

TOGETHER = 32  # layers in one network: most of an export's time does not depend on how many there are
WORDS = "python -m benchmarks.bundles.layer_sweep says what each ends with: has the table to change?"


def side_by_side(kind: str) -> list[tuple[str, dict[str, Verdict]]]:
    """(what they are given, layers of that kind), at most `TOGETHER` in each."""
    by_given: dict[str, dict[str, Verdict]] = defaultdict(dict)
    for group in GROUPS:
        by_given[group.given] |= {layer: verdict for layer, verdict in group.layers.items() if verdict.kind == kind}
    return [
        (given, dict(list(layers.items())[start : start + TOGETHER]))
        for given, layers in by_given.items()
        for start in range(0, len(layers), TOGETHER)
    ]


def one_of_each_line() -> list[tuple[str, str, str]]:
    """(what it is given, layer, words of the line): the first layer of each line."""
    found = {
        verdict.says: (group.given, layer, verdict.says)
        for group in reversed(GROUPS)
        for layer, verdict in reversed(group.layers.items())
        if verdict.kind == LINE and not verdict.says.startswith(("aten.", "prims."))
    }
    torchs = [
        (group.given, layer, verdict.says)
        for group in GROUPS
        for layer, verdict in group.layers.items()
        if verdict.says.startswith(("aten.", "prims."))
    ]
    return [*found.values(), *torchs[:2]]


def test_the_table_is_of_more_than_a_hundred_and_twenty_layers_and_settings() -> None:
    assert sum(len(group.layers) for group in GROUPS) >= 120
    assert len({layer for group in GROUPS for layer in group.layers}) >= 120


@pytest.mark.parametrize(("given", "expected"), side_by_side(PROVED))
def test_layers_that_are_said_to_train_are_proved(given: str, expected: dict[str, Verdict]) -> None:
    layers = list(expected)
    outcome = tried(layers, given)
    named = [layers[place] for place in sorted(outcome.suspects)] or layers
    assert outcome.fault is None, f"{named}: {outcome.fault}; {WORDS}"
    assert outcome.words == outcome.export == PROVED, f"{named}: {outcome.words}; {outcome.export}; {WORDS}"


@pytest.mark.parametrize(("given", "expected"), side_by_side(STOCK_ALONE))
def test_what_stock_graphs_alone_train_is_proved_and_the_others_operator_named(
    given: str, expected: dict[str, Verdict]
) -> None:
    outcome = tried(list(expected), given)
    assert outcome.fault is None, f"{outcome.fault}; {WORDS}"
    assert outcome.export == "stock alone"
    for place, (layer, verdict) in enumerate(expected.items()):
        assert verdict.says in {finding.op for finding in outcome.of(place).left}, f"{layer}; {WORDS}"


@pytest.mark.parametrize(("given", "expected"), side_by_side(OPERATOR))
def test_an_operator_without_a_gradient_is_named_with_its_layer(given: str, expected: dict[str, Verdict]) -> None:
    outcome = tried(list(expected), given)
    assert outcome.fault is None, f"{outcome.fault}; {WORDS}"
    assert isinstance(outcome.export, UserError)
    for place, (layer, verdict) in enumerate(expected.items()):
        left = outcome.of(place).left
        assert left, f"{layer} would export now; {WORDS}"
        assert verdict.says in {finding.op for finding in left}, f"{layer}: {left}"


@pytest.mark.parametrize(("given", "layer", "says"), one_of_each_line(), ids=str)
def test_what_no_graph_can_be_made_of_is_refused_in_one_line(given: str, layer: str, says: str) -> None:
    outcome = tried([layer], given)
    assert outcome.fault is None, f"{outcome.fault}; {WORDS}"
    assert says in outcome.words, outcome.words
    assert isinstance(outcome.export, UserError)
