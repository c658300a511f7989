"""A mentor's answers cached for a script: the same weights as without, the commands' files, and what cannot be cached."""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import transforms

import distill
from distill.library.identity import network_identity
from distill.machine import Machine
from distill.mentors.find import FoundMentor
from distill.schedules import constant
from distill.schema import CacheConfig, FitConfig
from distill.training.loaders import epoch_batches
from mentor_mentee.data.batches import Draws
from mentor_mentee.data.load import load_data
from mentor_mentee.data.splits import Splits, identity
from mentor_mentee.data.views.augmentation import Augmentation, Mix
from mentor_mentee.data.views.view import normalisation
from mentor_mentee.errors import UserError
from tests.distill.conftest import MakeConfig
from tests.distill.library.conftest import NORMAL, Make, trainer
from tests.distill.library.test_loaders import Photos, Stream
from tests.distill.library.test_same_as_the_command import AUTO, OPEN, AsTheCommand

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice
EXACT = CacheConfig(activations="float32")
MOVED = Augmentation([{"_target_": "RandomCrop", "padding": 1}], views=2)


@pytest.fixture
def asked(mentor: FoundMentor) -> Any:
    """`asked()`: samples that the mentor was asked about since it was last called."""
    counts: list[int] = []
    handle = mentor.network.register_forward_hook(lambda module, inputs, output: counts.append(len(inputs[0])))

    def since() -> int:
        found = sum(counts)
        counts.clear()
        return found

    yield since
    handle.remove()


def fitted(student: distill.Student, loader: Any, val: Any = None, epochs: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(7)
    trainer(max_epochs=epochs).fit(student, loader, val)
    return student.checkpoint().state


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("ours", [True, False], ids=["splits", "tensors"])
def test_the_weights_are_the_commands_and_of_its_splits_the_files_are_too(
    make_config: MakeConfig,
    make: Make,
    mentor: FoundMentor,
    machine: Machine,
    tmp_path: Path,
    asked: Callable[[], int],
    ours: bool,
) -> None:
    """Under layers that a cache rounds, too. What a command asked about a split a script need not ask."""
    fit = FitConfig(max_epochs=2, batch=64)
    where = {"cache_dir": str(tmp_path / "cache"), "cache": CacheConfig(answers=True)}
    config = make_config(tmp_path / "run", probes=AUTO, schedule=OPEN, trainer=fit, **where)
    theirs = distill.distill(config, machine, mentor=mentor)
    splits = load_data(config.data)
    mean, std = normalisation(splits.train)
    data = [one if ours else TensorDataset(one.images, one.labels) for one in (splits.train, splits.val)]
    made: dict[str, Any] = {"collate_fn": identity} if ours else {}
    loader = DataLoader(data[0], batch_sampler=AsTheCommand(splits.train, fit, config.seed), **made)
    val = DataLoader(data[1], 256, **made)
    torch.manual_seed(config.seed)
    student = make(
        loader,
        mean=mean,
        std=std,
        seed=config.seed,
        mentor_recipe=mentor.recipe,
        cache_dir=tmp_path / "cache",
    )
    asked()
    trainer(max_epochs=2).fit(student, loader, val)
    whole = -(-len(splits.train) // 64) * 64 + -(-len(splits.val) // 64) * 64  # it is always asked about 64 at once
    assert asked() == 1 + (0 if ours else whole)  # an image of the validation's for the shape of its answers
    assert same(student.checkpoint().state, theirs.checkpoint.state)


def test_shuffled_floats_of_several_processes_train_as_without_a_cache(
    make: Make, splits: Splits, tmp_path: Path, asked: Callable[[], int]
) -> None:
    normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize(NORMAL["mean"], NORMAL["std"])])
    data, weights, questions = Subset(Photos(splits, normalise), range(128)), list[dict[str, Tensor]](), list[int]()
    for options in ({}, {"cache_dir": tmp_path, "cache": EXACT}, {"cache_dir": tmp_path, "cache": EXACT}):
        drawn = torch.Generator().manual_seed(1)
        loader = DataLoader(data, 64, shuffle=True, generator=drawn, num_workers=1)
        torch.manual_seed(0)
        student = make(loader, source="uint8", **options)
        asked()
        weights.append(fitted(student, loader))
        questions.append(asked())
    assert same(weights[0], weights[1])
    assert same(weights[1], weights[2])
    assert questions == [2 * 128, 128, 0]


def test_views_of_ours_are_cached_as_the_commands_are(
    make: Make, splits: Splits, tmp_path: Path, asked: Callable[[], int]
) -> None:
    split = splits.train.subset(range(128))
    weights = []
    for options in ({}, {"cache_dir": tmp_path, "cache": EXACT}):
        batches = epoch_batches(split, FitConfig(batch=64), 1)
        loader = DataLoader(Draws(split, MOVED, 1), batch_sampler=batches, collate_fn=identity)  # type: ignore[arg-type]
        torch.manual_seed(0)
        student = make(loader, **options)
        asked()
        weights.append(fitted(student, loader, epochs=4))
        assert asked() == (2 * 128 if options else 4 * 128)
    assert same(*weights)


class Trembling(Photos):
    def __init__(self, splits: Splits) -> None:
        super().__init__(splits, transforms.Compose([transforms.RandomRotation(40), transforms.PILToTensor()]))


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (lambda s: DataLoader(Stream(s), 32), r"cache_dir: train is a Stream, without indices; expected a map-style"),
        (
            lambda s: DataLoader([(s.train.images[:64], s.train.labels[:64])], batch_size=None),
            r"cache_dir: train yields whole batches \(batch_size=None\)",
        ),
        (lambda s: DataLoader(Trembling(s), 32), r"sample \d+ of train differs when it is read again"),
        (
            lambda s: DataLoader(Draws(s.train, replace(MOVED, views=None), 1), 32, collate_fn=identity),
            r"cache_dir: train makes a new view at each pass; expected an Augmentation with views=8",
        ),
        (
            lambda s: DataLoader(Draws(s.train, Augmentation(mix=Mix(mixup=0.2)), 1), 32, collate_fn=identity),
            r"cache_dir: train mixes samples anew at each step; expected an Augmentation without mix",
        ),
    ],
)
def test_what_cannot_be_cached_is_one_line_before_any_training(
    make: Make, splits: Splits, tmp_path: Path, loader: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message + ".*leave cache_dir out: the mentor is then asked at each step"):
        make(loader(splits), cache_dir=tmp_path)
    make(loader(splits))


def test_no_room_is_one_line_and_a_run_that_asks_no_mentor_needs_none(
    make: Make, train: TensorDataset, tmp_path: Path
) -> None:
    loader, little = DataLoader(train, 64), {"cache_dir": tmp_path, "cache": CacheConfig(max_gb=1e-6)}
    with pytest.raises(UserError, match=r"to 900 samples of train take .* GB: cache\.max_gb=1e-06 is less"):
        make(loader, **little)
    fitted(make(loader, schedule=constant(1, 0, 0, 1), **little), loader, epochs=1)


def test_images_that_were_not_there_before_are_named_and_another_loader_has_a_cache_of_its_own(
    make: Make, splits: Splits, tmp_path: Path
) -> None:
    one, other = (
        DataLoader(TensorDataset(part.images[:64].clone(), part.labels[:64]), 32)
        for part in (splits.train, splits.test)
    )
    of_splits = DataLoader(splits.test.subset(range(64)), 32, collate_fn=identity)  # type: ignore[arg-type]
    weights = []
    for first, fit_on in ((one, other), (other, other), (one, of_splits)):
        torch.manual_seed(0)
        student = make(first, cache_dir=tmp_path, schedule=constant(1, 0, 1, 4))
        weights.append(fitted(student, fit_on, epochs=1))
    assert same(weights[0], weights[1])
    assert same(weights[0], weights[2])
    student = make(one, cache_dir=tmp_path)
    one.dataset.tensors[0].bitwise_not_()  # type: ignore[attr-defined]
    with pytest.raises(
        UserError, match=r"a training batch has 32 of 32 images that train did not have when all of its 64"
    ):
        fitted(student, one)


def test_a_stream_to_validate_on_is_asked_about_in_each_epoch(
    make: Make, splits: Splits, train: TensorDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = make(cache_dir=tmp_path, machine=Machine("cpu"))
    fitted(student, DataLoader(train, 64), DataLoader(Stream(splits), 64), epochs=1)
    said = capsys.readouterr().err
    assert re.search(
        "asked about validation samples in each epoch, for cache_dir: val is a Stream, without indices", said
    )
    assert student.history[-1]["val_kl"] > 0


def test_a_mentor_without_a_recipe_is_known_by_its_code_and_options(mentor: FoundMentor) -> None:
    def made(stride: int, act: Callable[[Tensor], Tensor]) -> nn.Module:
        network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=stride), nn.ReLU())
        network.act = act  # type: ignore[assignment]
        return network

    every = [made(1, torch.relu), made(1, torch.tanh), made(2, torch.relu)]
    assert len({network_identity(network) for network in every}) == 3
    assert network_identity(every[0]) == network_identity(made(1, torch.relu).eval())
    was = network_identity(mentor.network)
    assert was == network_identity(copy.deepcopy(mentor.network))
    mentor.network.register_forward_hook(lambda *_: None).remove()
    assert network_identity(mentor.network) == was


def closing_over(factor: float) -> Callable[..., Tensor]:
    return lambda module, given, output: output * factor


EDITS: dict[str, Callable[[nn.Module, float], object]] = {
    "a hook": lambda network, k: network.register_forward_hook(closing_over(k)),
    "a hook before it": lambda network, k: network.register_forward_pre_hook(closing_over(k)),
    "its own forward": lambda network, k: setattr(network, "forward", partial(closing_over(k), network, None)),
    "a tensor": lambda network, k: setattr(network, "scale", torch.tensor(k, dtype=torch.bfloat16)),
    "an array": lambda network, k: setattr(network, "scale", np.full(2, k)),
    "a buffer that is not saved": lambda network, k: network.register_buffer(
        "scale", torch.tensor(k), persistent=False
    ),
    "an object": lambda network, k: setattr(network, "config", SimpleNamespace(scale=k)),
    "a type": lambda network, k: setattr(network, "to", torch.float16 if k > 1 else torch.float32),
    "a module in a list": lambda network, k: setattr(network, "parts", [nn.Linear(int(k), 1), network]),
    "a set": lambda network, k: setattr(network, "names", {"a", "b", "c", str(k)}),
}


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_an_answer_depends_on_is_in_a_mentors_identity(edit: str) -> None:
    def made(k: float) -> str:
        network = nn.Sequential(nn.Conv2d(1, 2, 3))
        torch.manual_seed(int(k))
        EDITS[edit](network, k)
        return network_identity(network)

    assert made(1.0) == made(1.0) != made(2.0)


def test_batches_that_a_loader_makes_of_a_split_are_known_by_their_pixels(
    make: Make, splits: Splits, tmp_path: Path
) -> None:
    """They no longer say, or say wrongly, which samples they hold."""
    split = splits.train.subset(range(128))
    flipped: dict[str, Callable[[Any], Any]] = {
        "pairs": lambda batch: (batch.image_BCHW, batch.label_B),
        "flipped": lambda batch: batch._replace(image_BCHW=batch.image_BCHW.flip(3)),
        "as they are": identity,
    }
    part = Subset(Draws(split, Augmentation(), 1), range(127, 20, -1))
    loaders = [lambda how=how: DataLoader(split, 64, collate_fn=how) for how in flipped.values()]
    loaders.append(lambda: DataLoader(part, 64, collate_fn=identity))
    for loader in loaders:
        weights = []
        for options in ({}, {"cache_dir": tmp_path, "cache": EXACT}):
            torch.manual_seed(0)
            weights.append(fitted(make(split, schedule=constant(1, 0, 1, 4), **options), loader(), epochs=1))
        assert same(*weights)


def test_a_mentor_with_anothers_recipe_is_refused(make: Make, mentor: FoundMentor, tmp_path: Path) -> None:
    """Its answers would be cached as those of what the recipe builds."""
    other = {**mentor.recipe, "widths": [5, 7]}
    with pytest.raises(UserError, match=r"mentor: mentor\..* builds another network than the one given"):
        make(mentor_recipe=other, cache_dir=tmp_path)


def test_further_validation_loaders_have_columns_of_their_own(
    make: Make, splits: Splits, train: TensorDataset, tmp_path: Path
) -> None:
    """The first one's are what they are alone; under a cache as well."""
    one, two = (
        DataLoader(TensorDataset(part.images, part.labels), 64) for part in (splits.val, splits.test.subset(range(99)))
    )
    rows = []
    for val in (one, [one, two], {"ours": one, "theirs": two}):
        torch.manual_seed(0)
        student = make(cache_dir=tmp_path, cache=EXACT)
        fitted(student, DataLoader(train, 128), val, epochs=1)
        rows.append({name: value for name, value in student.history[-1].items() if name != "ms_per_step"})
    assert rows[1].items() >= rows[0].items()
    assert rows[1] == rows[2]
    assert {name for name in rows[1].keys() - rows[0].keys() if name.startswith("val")} == (
        {f"{name}_2" for name in rows[0] if name.startswith("val_")}
    )
    assert student.checkpoint().accuracy["val"]["samples"] == len(splits.val)
    alone = trainer().validate(student, two, verbose=False)[0]
    assert alone["val_accuracy"] == pytest.approx(rows[1]["val_accuracy_2"])
