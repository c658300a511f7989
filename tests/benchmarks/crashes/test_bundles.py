"""A small run of the bundle fuzzer, and that it can fail."""

from pathlib import Path

import pytest
from mentee_device.core import child

from benchmarks.crashes import bundles
from benchmarks.crashes.bundles import BAD, REFUSED, WORKS, sweep


@pytest.mark.parametrize(("base", "seed"), [("bundle_folder", 11), ("both_folder", 12)])
def test_no_mutant_crashes_hangs_or_learns_in_silence(base: str, seed: int, request: pytest.FixtureRequest) -> None:
    found = sweep(request.getfixturevalue(base), 24, seed=seed, say=False)
    assert found["failures"] == []
    verdicts = sum(counted.total() for counted in found["counts"].values())
    assert verdicts == sum(counted[WORKS] + counted[REFUSED] for counted in found["counts"].values()) == 24


def test_the_fuzzer_sees_what_comes_through(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guards some of the same mutants must fail."""
    monkeypatch.setattr(bundles.archive, "check_graphs", lambda folder, manifest: None)
    monkeypatch.setattr(bundles.learner_module, "require_tried", lambda bundle, threads, backend: None)
    monkeypatch.setattr(bundles, "PATIENCE", 5.0)
    monkeypatch.setattr(child, "CPU_SECONDS", 3)
    found = [sweep(bundle_folder, 0, seed=1, only=number, say=False) for number in (9, 33)]
    assert all(one["failures"][0]["verdict"] in BAD for one in found)
