"""Photos, and what the server's data and Pillow make of them: vectors of a few KB for device/js."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import v2

from mentor_mentee.data.reading.image_decode import central_square, on_ground
from mentor_mentee.data.reading.image_files import GROUNDS
from mentor_mentee.data.splits import Photo
from mentor_mentee.data.views.view import View

Box = tuple[int, int, int, int]

COLOUR, GRAY = (0.485, 0.456, 0.406), (0.13,)
SIZES = [(37, 53), (64, 48), (9, 7), (24, 24), (101, 20)]  # width, height
WAYS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def write_photos(folder: Path) -> None:
    """photos.safetensors: of each its RGBA, its sample's uint8 pixels as the server has them and with rows scaled first, and its
    tensor; photos.json: how they were made.

    Pillow 13 scales columns first where that is quicker, before it always rows: a pixel differs by a level then.
    """
    random = np.random.default_rng(0)
    tensors: dict[str, NDArray[Any]] = {}
    about: list[dict[str, Any]] = []

    def add(image: Image.Image, made: Image.Image, exact: Image.Image, view: View, rules: dict[str, Any]) -> None:
        name = f"{len(about)} {image.size} {view.shape} {rules}"
        tensors[f"{name} photo"] = np.asarray(image.convert("RGBA")).copy()
        tensors[f"{name} exact"] = view.pixels(batch(exact))[0].contiguous().numpy()
        tensors[f"{name} pixels"] = view.pixels(batch(made))[0].contiguous().numpy()
        tensors[f"{name} ready"] = view(batch(made))[0].contiguous().numpy()
        preprocessing = asdict(view)
        if rules and "fit" not in rules:  # as a manifest has them
            preprocessing["photo"], rules = asdict(Photo(**rules)), {}
        size = {"width": image.width, "height": image.height}
        about.append({"name": name, **size, "preprocessing": preprocessing, "rules": rules})

    for width, height in SIZES:
        image = photo(random, width, height)
        for view in (View((3, 16, 16), COLOUR, COLOUR), View((1, 28, 28), GRAY, (0.31,))):
            size = view.shape[1]
            add(image, central_square(image, size), rows_first(image, size, size, square(image)), view, {})
    image = photo(random, 61, 40)
    for way in WAYS:
        made = image.resize((19, 13), Image.Resampling[way.upper()])
        exact = rows_first(image, 19, 13, (0, 0, *image.size), way)
        add(image, made, exact, View((3, 13, 19), COLOUR, COLOUR), {"fit": "stretch", "interpolation": way})
    classic = v2.Compose([v2.Resize(20, antialias=True), v2.CenterCrop((15, 16))])  # Pillow's image: bilinear
    exact = classic.transforms[1](rows_first(image, 30, 20, (0, 0, *image.size)))
    add(image, classic(image), exact, View((3, 15, 16), COLOUR, COLOUR), {"fit": 20})
    image.putalpha(Image.fromarray(random.integers(0, 256, (40, 61), np.uint8)))
    view = View((3, 16, 16), COLOUR, COLOUR)
    for ground, level in GROUNDS.items():
        laid = on_ground(image, "a photo", ground)[0]
        add(image, central_square(laid, 16), rows_first(laid, 16, 16, square(laid)), view, {"ground": level})
    save_file(tensors, folder / "photos.safetensors")
    (folder / "photos.json").write_text(json.dumps(about))


def rows_first(image: Image.Image, width: int, height: int, box: Box, way: str = "bilinear") -> Image.Image:
    """The part `box` of the image, in two steps of Pillow's."""
    left, top, right, bottom = box
    wide = image.resize((width, image.height), Image.Resampling[way.upper()], box=(left, 0, right, image.height))
    return wide.resize((width, height), Image.Resampling[way.upper()], box=(0, top, width, bottom))


def square(image: Image.Image) -> Box:
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return left, top, left + side, top + side


def batch(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]


def photo(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Soft shapes with hard edges and grain."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [
        np.sin(x / random.uniform(2, 9) + random.uniform(0, 6)) * np.cos(y / random.uniform(2, 9)) for _ in range(3)
    ]
    image_HW3 = np.stack(waves, axis=-1) * 90 + 128 + random.normal(0, 12, (height, width, 3))
    image_HW3[height // 3 :, width // 2 :] = random.integers(0, 256, 3)
    return Image.fromarray(image_HW3.clip(0, 255).astype(np.uint8))
