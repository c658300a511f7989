"""Views by torchvision's transforms: functions of seed, position and number alone, against slices made by numpy."""

import inspect
import linecache
import random
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from mentor_mentee.data.batches import Draws
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augmentation import Augmentation, Mix, recorded, told
from mentor_mentee.data.views.drawn import Views, require_drawable
from mentor_mentee.data.views.transform_names import HOLDERS, REFUSED, inherited_signature, transform_homes
from mentor_mentee.errors import UserError

MANY = [
    {"_target_": "RandomCrop", "padding": 2},
    "RandomHorizontalFlip",
    {"_target_": "RandomApply", "transforms": [{"_target_": "ColorJitter", "brightness": 0.4}], "p": 0.5},
    {"_target_": "RandomAffine", "degrees": 20, "interpolation": "bilinear"},
    "TrivialAugmentWide",
]
OWN = """
import random
import numpy as np

class Dimmed:
    def __init__(self, most):
        self.most = most
    def __call__(self, image):
        return (image * random.random() * self.most).to(image.dtype)

def shifted(image, most=3):
    return image.roll(int(np.random.randint(most)), -1)

def halved(image):
    return image[:, ::2]

def as_float(image):
    return image.float()

class counted:
    calls = 0
    def __call__(self, image):
        self.calls += 1
        return image.roll(self.calls, -1)

def unseeded(image):
    return image.roll(int(np.random.default_rng().integers(6)), -1)

def in_place(image):
    return image.add_(1)
"""


def pictures(samples: int, channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (samples, channels, height, width), generator=generator).to(torch.uint8)


def draw(images: Tensor, transforms: list[Any], view: int = 0, seed: int = 0) -> Tensor:
    return Views(Augmentation(transforms), seed)(images, torch.arange(len(images)), torch.full((len(images),), view))


def states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def test_a_view_depends_on_seed_position_and_number_alone(own_module: Callable[[str], str]) -> None:
    transforms = [*MANY, {"_target_": f"{own_module(OWN)}.Dimmed", "most": 0.9}]
    images, views = pictures(20, 3, 9, 7), Views(Augmentation(transforms), 5)
    index, view = torch.arange(20), torch.full((20,), 4)
    before = states()
    whole = views(images, index, view)
    assert states() == before
    assert whole.shape == images.shape
    assert whole.dtype == torch.uint8
    picked = torch.tensor([17, 2, 2])
    torch.manual_seed(1)
    random.seed(1)
    assert torch.equal(views(images[picked], index[picked], view[picked]), whole[picked])
    for other in ((index, view + 1, 5), (index + 1, view, 5), (index, view, 6)):
        changed = (Views(Augmentation(transforms), other[2])(images, other[0], other[1]) != whole).flatten(1).any(1)
        assert int(changed.sum()) >= 18  # an operation of TrivialAugment may leave black of any view


def test_nothing_asked_is_nothing_done() -> None:
    images = pictures(4, 1, 5, 5)
    assert draw(images, []) is images


def test_a_crop_with_padding_is_a_slice_of_the_padded_image() -> None:
    images = pictures(200, 3, 8, 8)
    found = draw(images, [{"_target_": "RandomCrop", "padding": 2}]).numpy()
    offsets = set()
    for image, view in zip(images.numpy(), found, strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
        slices = {(y, x): padded[:, y : y + 8, x : x + 8] for y in range(5) for x in range(5)}
        (offset,) = (at for at, part in slices.items() if np.array_equal(part, view))
        offsets.add(offset)
    assert len(offsets) == 25


def test_a_flip_is_an_exact_mirror_of_about_half() -> None:
    images = pictures(400, 1, 6, 8)
    found = draw(images, ["RandomHorizontalFlip"])
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    assert (mirrored ^ (found == images).flatten(1).all(1)).all()
    assert 150 < int(mirrored.sum()) < 250


def test_signals_move_along_their_length_only() -> None:
    signal = torch.randn(60, 3, 1, 40)
    found = draw(signal, [{"_target_": "RandomCrop", "padding": 4}]).numpy()
    moves = set()
    for one, view in zip(signal.numpy(), found, strict=True):
        padded = np.pad(one, ((0, 0), (0, 0), (4, 4)))
        (move,) = (x for x in range(9) if np.array_equal(padded[:, :, x : x + 40], view))
        moves.add(move)
    assert len(moves) == 9
    moved = draw(torch.ones(30, 1, 1, 40), [{"_target_": "RandomAffine", "degrees": 0, "translate": [0.2, 0]}])
    assert (moved[:, :, :, 8:32] == 1).all()
    assert (moved == 0).any()
    assert torch.equal(draw(signal, [{"_target_": "RandomHorizontalFlip", "p": 1.0}]), signal.flip(3))
    for refused in ("RandomErasing", "RandomResizedCrop", {"_target_": "RandomAffine", "degrees": 5}):
        with pytest.raises(UserError, match="signals have a length alone; take RandomCrop"):
            draw(signal, [refused])


def test_numbers_on_their_own_scale_are_not_cut_off_at_one() -> None:
    loud = torch.full((4, 1, 6, 6), 30.0)
    noisy = draw(loud, [{"_target_": "GaussianNoise", "sigma": 1.0}])
    assert 25 < float(noisy.min()) < float(noisy.max()) < 35
    assert float(noisy.std()) == pytest.approx(1, abs=0.3)
    with pytest.raises(UserError, match=r"transforms\[0\]: ColorJitter is for pixels \(uint8\)"):
        draw(loud, ["ColorJitter"])


def test_own_transforms(own_module: Callable[[str], str]) -> None:
    module, images = own_module(OWN), pictures(12, 1, 4, 6)
    rolled = draw(images, [{"_target_": f"{module}.shifted", "most": 6}])
    moves = {
        next(move for move in range(6) if torch.equal(view, image.roll(move, -1)))
        for image, view in zip(images, rolled, strict=True)
    }
    assert len(moves) > 2
    with pytest.raises(UserError, match=r"\[0\] \(\S+halved\) leaves a sample as \[1, 2, 6\]; expected \[1, 4, 6\]"):
        require_drawable(Augmentation([f"{module}.halved"]), images, "here")
    with pytest.raises(UserError, match=r"here.transforms\[1\] \(\S+as_float\) made torch.float32 of a sample"):
        require_drawable(Augmentation(["RandomHorizontalFlip", f"{module}.as_float"]), images, "here")
    with pytest.raises(UserError, match=r"\(ColorJitter\) failed on a torch.uint8 sample \[5, 4, 6\]: "):
        require_drawable(Augmentation([{"_target_": "ColorJitter", "saturation": 0.5}]), pictures(2, 5, 4, 6), "here")
    for drifting in ("counted", "unseeded"):
        with pytest.raises(UserError, match=r"here\.transforms: the same view drawn twice is not the same"):
            require_drawable(Augmentation(["RandomHorizontalFlip", f"{module}.{drifting}"]), images, "here")
    require_drawable(Augmentation([{"_target_": f"{module}.shifted", "most": 6}, f"{module}.in_place"]), images, "here")
    Augmentation([{"_target_": f"{module}.shifted", "most": 6}]).check("here")
    with pytest.raises(UserError, match=f"'{module}.shifted' has no option 'mots'; did you mean 'most'"):
        Augmentation([{"_target_": f"{module}.shifted", "mots": 6}]).check("here")


def test_few_views_are_drawn_once_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(pictures(20, 1, 6, 6), torch.zeros(20, dtype=torch.int64), torch.arange(20) + 7)
    how = Augmentation([{"_target_": "RandomCrop", "padding": 2}], views=3)
    fresh, kept = Draws(split, how, 1), Draws(split, how, 1, remember=True)
    asked: list[int] = []
    views = Views.__call__
    monkeypatch.setattr(
        Views, "__call__", lambda self, image, *rest: asked.append(len(image)) or views(self, image, *rest)
    )
    for number in range(9):
        draws = [number * 20 + row for row in range(0, 20, 1 + number % 2)]
        assert torch.equal(kept.__getitems__(draws).image_BCHW, fresh.__getitems__(draws).image_BCHW)
    assert sum(asked) - sum(10 if number % 2 else 20 for number in range(9)) == 3 * 20
    assert Draws(split, Augmentation(how.transforms), 1, remember=True).remembered is None


def test_names_and_options_are_those_of_torchvision() -> None:
    homes = transform_homes()
    exported = {
        name for name, found in vars(v2).items() if inspect.isclass(found) and issubclass(found, torch.nn.Module)
    } - {"Transform"}
    assert homes.keys() == exported
    assert REFUSED.keys() <= exported
    assert set(HOLDERS) <= exported
    for name, home in homes.items():
        signature = inherited_signature(home, name)
        named = {
            key: value
            for key, value in inspect.signature(getattr(v2, name)).parameters.items()
            if value.kind not in (value.VAR_KEYWORD, value.VAR_POSITIONAL)
        }
        assert signature.known == named.keys(), name
        assert signature.required == {key for key, value in named.items() if value.default is value.empty}, name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("RandomHorizontalFip", "no transform 'RandomHorizontalFip'; did you mean 'RandomHorizontalFlip'"),
        ({"_target_": "RandomCrop", "pading": 4}, "'RandomCrop' has no option 'pading'; did you mean 'padding'"),
        ({"_target_": "RandomHorizontalFlip", "p": "often"}, r"transforms\[0\].p='often'; expected a number"),
        ({"_target_": "RandomRotation"}, "'RandomRotation' needs degrees"),
        ({"_target_": "RandomRotation", "degrees": 3, "interpolation": "linear"}, "interpolation=linear; .*bilinear"),
        ({"_target_": "RandomApply", "transforms": ["Fip"]}, r"transforms\[0\].transforms\[0\]: .* no transform 'Fip'"),
        ("Normalize", "Normalize cannot be used here; networks get standardised inputs anyway"),
        ("RandomIoUCrop", "RandomIoUCrop cannot be used here; it is for boxes"),
        ("CutMix", "set augment.mix.cutmix"),
        ("os.path.exists", "of Python's standard library"),
        ({"padding": 4}, r"transforms\[0\]={'padding': 4}; expected a name, as RandomHorizontalFlip"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_runs(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Augmentation([given]).check("here")


def test_what_a_view_depends_on(own_module: Callable[[str], str], tmp_path: Path) -> None:
    module = own_module(OWN)
    how = Augmentation([{"_target_": "RandomApply", "transforms": [f"{module}.shifted"]}], views=2)
    before = how.identity()
    assert (
        before == Augmentation(how.transforms, views=3).identity() != Augmentation(["RandomHorizontalFlip"]).identity()
    )
    (tmp_path / f"{module}.py").write_text(OWN.replace("randint(most)", "randint(1, most)"))
    sys.modules.pop(module)
    linecache.clearcache()
    invalidate_caches()
    assert how.identity() != before


def test_no_augmentation_is_recorded_as_before_there_were_transforms() -> None:
    assert recorded(asdict(Augmentation())) == {
        "rotate": 0.0,
        "shear": 0.0,
        "scale": 0.0,
        "shift": 0.0,
        "elastic": 0.0,
        "flip": False,
        "erase": 0.0,
        "views": None,
    }
    assert recorded(asdict(Augmentation(views=2)))["views"] == 2


def test_numbers_that_make_no_sense() -> None:
    for how, said in (
        (Augmentation(views=0), "here.views=0"),
        (Augmentation(mix=Mix(mixup=-1)), "here.mix.mixup=-1"),
        (Augmentation(mix=Mix(cutmix=float("nan"))), "here.mix.cutmix=nan"),
    ):
        with pytest.raises(UserError, match=said):
            how.check("here")


def test_what_is_said_of_augmentation() -> None:
    assert (
        told(Augmentation(["RandomHorizontalFlip", "RandAugment"]))
        == "RandomHorizontalFlip, RandAugment (always new views)"
    )
    assert told(Augmentation(["RandAugment"], views=4)) == "RandAugment (4 views)"
    assert told(Augmentation(mix=Mix(cutmix=1))) == "cutmix 1"
    assert told({"shift": 0.1, "flip": False, "views": 8}) == "shift 0.1 (8 views)"  # as settings were
    assert told({}) == told(Augmentation(views=3)) == "no augmentation"
