"""A bundle records numbers that its maker's own runtime computes, where a draw of feeds has such."""

from typing import Any

import numpy as np
import pytest

from export.bundle.write import parity_samples
from export.parity import recorded
from export.parity.verdict import GRADIENT_BOUND
from tests.export.conftest import Parts


@pytest.mark.parametrize(
    ("differences", "taken"),
    [([GRADIENT_BOUND / 2], 0), ([3e-2, 1e-4, GRADIENT_BOUND / 2], 2), ([3e-2, 1e-4] + [2e-3] * 6, 1)],
)
def test_feeds_near_a_kink_are_drawn_again(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, differences: list[float], taken: int
) -> None:
    left = list(differences)

    def replay(*_: Any) -> dict[str, float]:
        return {"gradients": left.pop(0)}

    monkeypatch.setattr(recorded, "replay", replay)
    samples = parity_samples(parts.prepared)
    names = [port.name for port in parts.prepared.outputs]
    made = recorded.recorded_for(
        parts.prepared.graph, samples, names, [parts.folder / "ort-training"], parts.folder / "inference.onnx"
    )
    drawn = recorded.draw(len(samples.input), samples.mentor_logits_NK.shape[1], recorded.SEED + taken)
    assert not left
    for name, value in drawn.items():
        np.testing.assert_array_equal(made[name], value)


def test_the_runtime_that_made_a_bundle_computes_what_it_records(parts: Parts) -> None:
    samples = parity_samples(parts.prepared)
    names = [port.name for port in parts.prepared.outputs]
    folder, inference = parts.folder / "ort-training", parts.folder / "inference.onnx"
    made = recorded.recorded_for(parts.prepared.graph, samples, names, [folder], inference)
    assert max(recorded.replay(made, samples, names, folder, inference).values()) <= GRADIENT_BOUND
