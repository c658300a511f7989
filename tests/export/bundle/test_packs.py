"""Choice of the replayed samples, by brute force; how many fit a budget, by the size of the file."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from export.bundle.packs import class_balanced, pixels_of
from export.bundle.prepare import prepare, replay_samples
from export.bundle.replay_choice import choose, fitting, sample_bytes
from export.bundle.write import write_tensors
from export.schema import ExportSettings, check_export
from mentee.checkpoint import MenteeCheckpoint
from mentor_mentee.data.image_folder import image_folder
from mentor_mentee.data.splits import Split, labels_per_class
from mentor_mentee.data.store import store
from mentor_mentee.data.store.images import Images, in_parts
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from tests.mentor_mentee.data.test_image_folder import fill


def points(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_herding_takes_at_each_step_what_brings_the_mean_closest(seed: int) -> None:
    """Algorithm 4 of arXiv 1611.07725, written out: every candidate's mean is computed anew."""
    embedding = points(9, seed)
    scaled = [row / row.norm() for row in embedding]
    mean = sum(scaled, torch.zeros(3)) / len(scaled)
    expected: list[int] = []
    for _ in range(5):
        means = {
            i: torch.stack([scaled[j] for j in [*expected, i]]).mean(0) for i in range(len(scaled)) if i not in expected
        }
        expected.append(min(means, key=lambda i: float((mean - means[i]).norm())))
    assert choose("herding", embedding, 5).tolist() == expected


def test_herding_keeps_the_class_mean_better_than_most_choices_do() -> None:
    scaled = normalize(points(9), dim=1)
    every = [
        float((scaled[list(chosen)].mean(0) - scaled.mean(0)).norm()) for chosen in itertools.combinations(range(9), 4)
    ]
    mine = float((scaled[choose("herding", points(9), 4)].mean(0) - scaled.mean(0)).norm())
    assert sum(other < mine for other in every) < len(every) / 4


@pytest.mark.parametrize("seed", range(3))
def test_k_centre_covers_within_twice_the_best_radius(seed: int) -> None:
    """The guarantee of the greedy rule, against all choices of 3 out of 10; and each choice is the farthest one."""
    embedding = points(10, seed)
    distance = torch.cdist(embedding, embedding)
    radius = {chosen: float(distance[:, list(chosen)].amin(1).max()) for chosen in itertools.combinations(range(10), 3)}
    mine = choose("k_centre", embedding, 3).tolist()
    assert mine[0] == int((embedding - embedding.mean(0)).norm(dim=1).argmin())
    for size in (1, 2):
        assert mine[size] == int(distance[:, mine[:size]].amin(1).argmax())
    assert radius[tuple(sorted(mine))] <= 2 * min(radius.values()) + 1e-12


@pytest.mark.parametrize("rule", ["herding", "k_centre"])
def test_no_sample_is_taken_twice_nor_more_than_there_are(rule: str) -> None:
    assert sorted(choose(rule, torch.ones(4, 2), 9).tolist()) == [0, 1, 2, 3]
    assert sorted(choose(rule, torch.zeros(3, 2, 1), 3).tolist()) == [0, 1, 2]


def test_a_rule_chooses_within_each_class_on_what_embed_makes_of_its_images() -> None:
    images = torch.tensor([0, 9, 10, 11, 50, 0, 1, 2, 200], dtype=torch.uint8).view(9, 1, 1, 1)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1])
    split = Split(images, labels, torch.arange(9))
    picked = class_balanced(split, 2, 2, "x", rule="k_centre", embed=lambda part: part.float())
    # class 0: mean 16, so 11, then 50; class 1: mean 50.75, so 2, then 200
    assert picked.positions.tolist() == [3, 4, 7, 8]


@pytest.mark.parametrize("megabytes", [0.018, 0.05, 0.11])
def test_a_budget_in_megabytes_holds_and_one_more_of_each_class_would_not_fit(
    checkpoint: MenteeCheckpoint, megabytes: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = ExportSettings(golden_per_class=2, supervision_mb=megabytes, replay_rule="herding")
    pack = prepare(checkpoint, settings).pack
    path = tmp_path_factory.mktemp("pack") / "supervision.safetensors"
    write_tensors(path, pack.tensors(), checkpoint.classes)
    assert len(pack.labels_N) % 10 == 0
    shapes = [probe.adapter.shape for probe in checkpoint.probes]
    assert sample_bytes(checkpoint.view.shape, "uint8", 10, shapes) == pack.bytes_per_sample == 64 + 8 + 20 + 1536
    assert path.stat().st_size <= megabytes * 1e6 < path.stat().st_size + 10 * pack.bytes_per_sample + 1000
    if len(pack.labels_N) >= 40:  # labels_per_class of the run: all of them, and unlabelled ones beside them
        assert torch.bincount(pack.labels_N[pack.labels_N >= 0]).tolist() == [4] * 10


def test_a_budget_too_small_for_one_sample_of_each_class_says_how_much_is_needed(checkpoint: MenteeCheckpoint) -> None:
    with pytest.raises(
        UserError, match=r"supervision_mb=0\.01 holds no sample of each class: one is 1,628 bytes"
    ) as error:
        prepare(checkpoint, ExportSettings(supervision_mb=0.01))
    needed = float(str(error.value).split(" need ")[1].split(" MB")[0])
    assert fitting(needed, 1628, 10, 5) == 1
    with pytest.raises(UserError):
        fitting(needed - 0.001, 1628, 10, 5)


def test_settings_that_are_no_rule_or_budget_are_refused() -> None:
    for settings, said in (
        (ExportSettings(replay_rule="herdin"), "did you mean 'herding'"),
        (ExportSettings(supervision_mb=0), "supervision_mb=0; expected a number above 0"),
        (ExportSettings(mentor_service="mentor.example/x"), "mentor_service=mentor.example/x; expected https://HOST"),
    ):
        with pytest.raises(UserError, match=said):
            check_export(settings)


def test_packs_of_data_on_disk_are_those_of_the_same_data_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "data", {"a": 30, "b": 30})
    monkeypatch.setattr(store, "BLOCK_BYTES", 7 * 3 * 8 * 8)
    memory, disk = (
        image_folder(tmp_path / "data", 8, memory_mb=megabytes, cache=str(tmp_path / "cache")) for megabytes in (256, 0)
    )
    assert disk.train.on_disk

    def embed(images: Images) -> Tensor:
        return torch.cat([part.float().mean((2, 3)) for part in in_parts(images, 4)])

    view = View((1, 4, 4), (0.5,), (0.25,))
    for rule in ("random", "herding"):
        one, other = (class_balanced(splits.train, 4, 2, "split", rule=rule, embed=embed) for splits in (memory, disk))
        assert torch.equal(one.positions, other.positions)
        assert torch.equal(pixels_of(one, view), pixels_of(other, view))
    budget = [labels_per_class(splits.train, 2, 0, False) for splits in (memory, disk)]
    replayed = [replay_samples(few, splits.train, 5, 2) for few, splits in zip(budget, (memory, disk), strict=True)]
    assert torch.equal(replayed[0].images[:], replayed[1].images[:])
    assert replayed[0].labels.tolist() == replayed[1].labels.tolist()
