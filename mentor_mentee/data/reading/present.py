"""Checks that the files of a data set are there. Imports no torch, so that a wrong `data.root` is answered at once."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mentor_mentee.data.reading.image_files import require_images
from mentor_mentee.errors import UserError
from mentor_mentee.recipe import split_target

NPZ, SAFETENSORS, NPY = ".npz", ".safetensors", ".npy"


class Stored(NamedTuple):
    folder: str  # below `data.root`
    files: tuple[str, ...]


IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
STORED = {
    "mnist": Stored("MNIST/raw", IDX),
    "fashion_mnist": Stored("FashionMNIST/raw", IDX),
    "cifar10": Stored("cifar-10-batches-py", (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")),
    "cifar100": Stored("cifar-100-python", ("train", "test", "meta")),
}


def require_present(recipe: Mapping[str, Any]) -> None:
    """Raises `UserError` where a data set of this package lacks its files and is not told to fetch them. Other data sets
    find out themselves, when they are built."""
    check = CHECKS.get(".".join(split_target(recipe, "data")))
    if check is not None and not recipe.get("download"):
        check(recipe)


def missing_files(name: str, root: Path) -> list[str]:
    folder, files = STORED[name]
    return [file for file in files if not (root / folder / file).is_file()]


def require_stored(name: str, root: Path) -> None:
    if missing := missing_files(name, root):
        folder = STORED[name].folder
        raise UserError(
            f"{name} not found: no {', '.join(missing)} in {root / folder}; set data.download=true to fetch it there, "
            f"or data.root=... to the folder that holds {folder}"
        )


def require_array_file(path: Path) -> None:
    if path.is_dir():
        if not any(path.glob(f"*{NPY}")):
            raise UserError(
                f"no {NPY} file in the folder '{path}'; expected one for each array, as inputs.npy, labels.npy"
            )
        return
    if path.suffix not in (NPZ, SAFETENSORS):
        raise UserError(
            f"'{path}' is neither .npz nor .safetensors; set data.path=... to a file of one of these kinds, or to a folder of "
            ".npy files"
        )
    if not path.is_file():
        raise UserError(f"no file '{path}'; set data.path=... to an .npz or .safetensors file")


def _stored(name: str, recipe: Mapping[str, Any]) -> None:
    require_stored(name, Path(recipe["root"]).expanduser())


CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    **{f"mentor_mentee.data.datasets.{name}": partial(_stored, name) for name in STORED},
    "mentor_mentee.data.image_folder.image_folder": require_images,
    "mentor_mentee.data.arrays.arrays": lambda recipe: require_array_file(Path(recipe["path"]).expanduser()),
}
