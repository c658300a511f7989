"""A folder of images is checked by its listing alone: before torch is imported, and before one image is read."""

import subprocess
import sys
from pathlib import Path

import pytest

from mentor_mentee.data.reading.image_files import require_images, rows_of
from mentor_mentee.errors import UserError
from tests.paths import ROOT

TARGET = "mentor_mentee.data.image_folder.image_folder"


def touch(root: Path, counts: dict[str, int]) -> None:
    """Files that are no images: whoever reads one fails."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"{i}.png").touch()


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            {"a": 1, "b": 1},
            r"the images in .* \(a: 1, b: 1\): parts \[0.1, 0.2, 0.7\] of 2 samples leave 0 samples for val",
        ),
        ({"a": 30, "b": 0}, r"no image in .*b; expected"),
        ({"a": 30}, r"1 class folders in .*; expected two or more"),
        ({"train/a": 9, "valid/a": 1}, r"folder 'valid' beside train in .* did you mean 'val'"),
        (
            {"a": 40, "b": 1, "c": 40},
            r"1 of 3 classes \(b\) would have no image to train on: .* hold few \(b: 1, a: 40, c: 40\) and data.val_fraction=0.5",
        ),
    ],
)
def test_what_the_names_of_the_files_show_is_told_without_reading_one(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    touch(tmp_path, counts)
    fractions = {"val_fraction": 0.5, "test_fraction": 0.4} if "c" in counts else {}
    with pytest.raises(UserError, match=message):
        require_images({"_target_": TARGET, "root": str(tmp_path), "size": 8, **fractions})


def test_the_check_imports_no_torch(tmp_path: Path) -> None:
    touch(tmp_path, {"a": 30, "b": 30})
    program = (
        "import sys; from mentor_mentee.data.reading.present import require_present; "
        f"require_present({{'_target_': {TARGET!r}, 'root': {str(tmp_path)!r}, 'size': 8}}); "
        "assert 'torch' not in sys.modules and 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_three_hundred_classes_of_seven(tmp_path: Path) -> None:
    """As many in each split as was asked for, each class in train; which classes val lacks is said (`oddities`)."""
    from mentor_mentee.data.reading.image_files import list_images

    touch(tmp_path, {f"{i:03}": 7 for i in range(300)})
    found = list_images(tmp_path, 0.1, 0.2, 0, None)
    labels = [label for _, label in found.labelled["train"]]
    rows = rows_of(found, tmp_path, 0)
    assert {part: len(taken) for part, taken in rows.items()} == {"val": 210, "test": 420, "train": 1470}
    assert len({labels[row] for row in rows["train"]}) == 300
    assert sorted(row for taken in rows.values() for row in taken.tolist()) == list(range(2100))
