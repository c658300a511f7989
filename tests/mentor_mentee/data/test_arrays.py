"""npz and safetensors files as Splits, against what was put into them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mentor_mentee.data.arrays import arrays
from mentor_mentee.data.load import check_data, load_data
from mentor_mentee.errors import UserError
from mentor_mentee.progress import reporting
from tests.mentor_mentee.data.columns import PARTS, Columns, classes_of, rising, rows, saved

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["file.npz", "file.safetensors"])
@pytest.mark.parametrize(
    ("layout", "shape", "axes", "said"),
    [
        ("NCHW", (30, 2, 5, 4), (0, 1, 2, 3), True),
        ("NCHW", (30, 3, 5, 4), (0, 1, 2, 3), False),
        ("NHWC", (30, 5, 4, 3), (0, 3, 1, 2), False),
        ("NHWC", (30, 5, 4, 6), (0, 3, 1, 2), True),
        ("NHW", (30, 5, 4), (0, None, 1, 2), True),
        ("NCL", (30, 6, 4), (0, 1, None, 2), True),
        ("NLC", (30, 6, 4), (0, 2, None, 1), True),
        ("NL", (30, 6), (0, None, None, 1), False),
    ],
)
def test_every_layout_lands_on_its_axes(
    tmp_path: Path, name: str, layout: str, shape: tuple[int, ...], axes: tuple[int | None, ...], said: bool
) -> None:
    given = rising(*shape)
    path = saved(tmp_path, name, inputs=given, labels=classes_of(30))
    splits = arrays(path, layout=layout if said else None)
    assert splits.dtype == "float32"
    assert splits.classes == ("0", "1", "2")
    assert splits.name == "file"
    seen = []
    for part in PARTS:
        split = getattr(splits, part)
        for position, image in zip(split.positions.tolist(), split.images.numpy(), strict=True):
            for place in np.ndindex(*image.shape):
                here = [0 if axis is None else (position, *place)[i] for i, axis in enumerate(axes)]
                source = [0] * len(shape)
                for i, axis in enumerate(axes):
                    if axis is not None:
                        source[axis] = here[i]
                assert image[place] == given[tuple(source)]
            seen.append(position)
        assert split.labels.tolist() == [position % 3 for position in split.positions.tolist()]
    assert sorted(seen) == list(range(30))


def test_bytes_of_three_axes_are_gray_images_and_stay_bytes(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (30, 5, 4), np.uint8)
    splits = arrays(saved(tmp_path, inputs=pixels, labels=classes_of(30)))
    assert splits.shape == (1, 5, 4)
    assert splits.train.images.dtype == torch.uint8
    assert np.array_equal(splits.train.images[:, 0].numpy(), pixels[splits.train.positions.numpy()])


@pytest.mark.parametrize(
    ("shape", "layout", "message"),
    [
        (
            (30, 6, 4),
            None,
            r"set data\.layout to NHW \(N=30, H=6, W=4\) or NCL \(N=30, C=6, L=4\) or NLC \(N=30, L=6, C=4\)",
        ),
        ((30, 3, 4, 3), None, r"set data\.layout to NCHW \(N=30, C=3, H=4, W=3\) or NHWC \(N=30, H=3, W=4, C=3\)"),
        ((30, 2, 4, 5), None, r"set data\.layout to NCHW .* or NHWC"),
        ((30, 6, 4), "NCHW", r"\[30, 6, 4\], which is not layout=NCHW; set data\.layout to NHW .* or NCL .* or NLC"),
        ((30, 6), "NHW", r"not layout=NHW; set data\.layout to NL \(N=30, L=6\)$"),
        ((30, 6), "NCWH", r"layout=NCWH; did you mean 'NCHW'"),
        ((30,), None, r"expected 2 to 4 axes.*NCHW, NHWC, NHW, NCL, NLC, NL"),
        ((30, 1, 2, 3, 4), "NCHW", "expected 2 to 4 axes"),
        ((30, 0), None, "none of them empty"),
    ],
)
def test_a_layout_that_is_open_or_wrong(
    tmp_path: Path, shape: tuple[int, ...], layout: str | None, message: str
) -> None:
    path = saved(tmp_path, inputs=rising(*shape), labels=classes_of(30))
    with pytest.raises(UserError, match=message):
        arrays(path, layout=layout)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint16, np.float16, np.float64, np.bool_, ">f4"])
def test_other_numbers_become_float32_of_the_same_value(tmp_path: Path, dtype: Any) -> None:
    given = RANDOM.integers(0, 2, (30, 4)).astype(dtype)
    splits = arrays(saved(tmp_path, inputs=given, labels=classes_of(30)))
    assert splits.dtype == "float32"
    assert np.array_equal(splits.train.images[:, 0, 0].numpy(), given[splits.train.positions.numpy()].astype(float))


def test_half_precision_of_safetensors(tmp_path: Path) -> None:
    inputs = torch.arange(120.0).view(30, 4)
    save_file({"inputs": inputs.bfloat16(), "labels": torch.arange(30) % 3}, tmp_path / "file.safetensors")
    splits = arrays(tmp_path / "file.safetensors")
    assert torch.equal(splits.train.images[:, 0, 0], inputs.bfloat16().float()[splits.train.positions])


def with_value(value: Any, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    inputs = np.zeros((30, 2, 4), dtype)
    inputs[7, 1, 2] = inputs[9] = value
    return inputs


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (with_value(np.nan), r"'inputs' in '.*file\.npz' is nan at sample 7 \(first of 9 such values\)"),
        (with_value(-np.inf, np.float64), "is -inf at sample 7"),
        (with_value(1e300, np.float64), r"is 1e\+300 at sample 7 .*expected finite float32 numbers"),
        (with_value((1 << 24) + 1, np.int64), "runs from 0 to 16777217, which float32 cannot hold exactly"),
        (with_value(-(1 << 30), np.int32), "runs from -1073741824 to 0"),
        (with_value(1j, np.complex64), "is of complex64; expected numbers"),
        (with_value("a", "<U2"), "is of <U2; expected numbers"),
    ],
)
def test_numbers_that_cannot_be_trained_on(tmp_path: Path, inputs: np.ndarray[Any, Any], message: str) -> None:
    path = saved(tmp_path, inputs=inputs, labels=classes_of(30))
    with pytest.raises(UserError, match=message):
        arrays(path, layout="NCL")


def test_strings_become_sorted_classes_and_the_empty_one_is_no_label(tmp_path: Path) -> None:
    words = np.array(["rot", "blau", "", "grün"] * 10)
    for labels in (words, np.char.encode(words, "utf-8")):
        splits = arrays(saved(tmp_path, inputs=rising(40, 6), labels=labels))
        assert splits.classes == ("blau", "grün", "rot")
        for split in (splits.train, splits.val, splits.test):
            names = ["" if label < 0 else splits.classes[label] for label in split.labels.tolist()]
            assert names == words[split.positions.numpy()].tolist()
        assert not (splits.val.labels < 0).any()
        assert int((splits.train.labels < 0).sum()) == 10


def test_class_names_from_the_file_or_by_hand(tmp_path: Path) -> None:
    names = ["walk", "run", "sit"]
    path = saved(tmp_path, inputs=rising(30, 6), labels=classes_of(30), activity=np.array(names))
    for classes in ("activity", names):
        splits = arrays(path, classes=classes)
        assert splits.classes == ("walk", "run", "sit")
        assert torch.equal(splits.train.labels, splits.train.positions % 3)
    assert arrays(path, classes=[*names, "never seen"]).classes[3] == "never seen"
    words = saved(tmp_path, inputs=rising(30, 6), labels=np.array(names)[classes_of(30)])
    assert torch.equal(arrays(words, classes=names).train.labels, arrays(words, classes=names).train.positions % 3)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (classes_of(30) * 2, None, r"runs from 0 to 4, but no sample is of class 1"),
        (classes_of(30) + 1, None, r"runs from 1 to 3, but no sample is of class 0"),
        (classes_of(30) - 2, None, r"runs from -2 to 0; expected 0 or more, or -1"),
        (classes_of(30), ["a", "b"], r"runs from 0 to 2; expected 0 to 1 for 2 names"),
        (classes_of(30, 1), None, r"expected two or more different ones"),
        (classes_of(30), ["a", "b", "a"], r"expected two or more different ones"),
        (classes_of(30).astype(float), None, r"is float64 of shape \[30\]; expected \[N\] whole numbers or strings"),
        (np.eye(30), None, r"float64 of shape \[30, 30\]"),
        (np.array(["walk", "rum", "sit"])[classes_of(30)], ["walk", "run", "sit"], r"has 'rum'.*did you mean 'run'"),
        (np.array([b"a", b"\xff"])[classes_of(30, 2)], None, "no UTF-8"),
        (np.full(30, -1), ["a", "b"], r"no sample in '.*' has a label"),
        (classes_of(29), None, r"30 samples in 'inputs' but 29 in 'labels'"),
        (
            np.r_[np.zeros(29, int), 1],
            None,
            r"1 of 2 classes \(1\) of file have samples in val but no labelled one in train",
        ),
    ],
)
def test_labels_that_make_no_classes(
    tmp_path: Path, labels: np.ndarray[Any, Any], classes: list[str] | None, message: str
) -> None:
    path = saved(tmp_path, inputs=rising(30, 6), labels=labels)
    with pytest.raises(UserError, match=message):
        # the only sample of the rare class is in train for most seeds, so several are tried
        [arrays(path, classes=classes, seed=seed) for seed in range(30)]


def test_fractions_are_those_of_the_labelled_and_the_others_train(tmp_path: Path) -> None:
    labels = classes_of(120)
    labels[:20] = -1
    path = saved(tmp_path, inputs=rising(120, 6), labels=labels)
    splits = arrays(path, val_fraction=0.15, test_fraction=0.25)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (80, 15, 25)
    assert set(range(20)) <= set(rows(splits)["train"])
    assert sorted(position for part in rows(splits).values() for position in part) == list(range(120))
    assert all(4 <= n <= 6 for n in Counter(splits.val.labels.tolist()).values())
    assert rows(arrays(path, seed=1)) == rows(arrays(path, seed=1)) != rows(arrays(path, seed=2))


@pytest.mark.parametrize("name", ["more.npz", "more.safetensors", "pool"])
def test_more_inputs_without_labels(tmp_path: Path, name: str) -> None:
    more = -rising(7, 6)
    columns: Columns = {"inputs": rising(30, 6), "labels": classes_of(30)}
    plain = arrays(saved(tmp_path, **columns))
    if name == "pool":
        columns["pool"] = more
    else:
        name = str(saved(tmp_path, name, inputs=more))
    splits = arrays(saved(tmp_path, **columns), unlabelled=name)
    assert splits.val.fingerprint() == plain.val.fingerprint()
    assert splits.test.fingerprint() == plain.test.fingerprint()
    assert splits.train.positions.tolist() == [*plain.train.positions.tolist(), *range(30, 37)]
    assert splits.train.labels.tolist() == [*plain.train.labels.tolist(), *[-1] * 7]
    assert np.array_equal(splits.train.images[-7:, 0, 0].numpy(), more)


@pytest.mark.parametrize(
    ("more", "unlabelled", "message"),
    [
        ({"pool": rising(7, 6)}, "pol", r"unlabelled=pol is neither an array of '.*' nor a file; did you mean 'pool'"),
        ({"pool": rising(7, 5)}, "pool", r"'pool' in .*\[1, 1, 5\] a sample, those with labels .*\[1, 1, 6\]"),
        ({"pool": np.zeros((7, 6), np.uint8)}, "pool", r"is torch\.uint8 of .* those with labels torch\.float32"),
        ({"pool": np.full((7, 6), np.nan)}, "pool", r"'pool' in .* is nan at sample 0"),
    ],
)
def test_more_inputs_that_do_not_fit(tmp_path: Path, more: Columns, unlabelled: str, message: str) -> None:
    path = saved(tmp_path, inputs=rising(30, 6), labels=classes_of(30), **more)
    with pytest.raises(UserError, match=message):
        arrays(path, unlabelled=unlabelled)


def test_the_label_budget_works_on_it_and_leaves_the_unlabelled_as_they_are(tmp_path: Path) -> None:
    labels = classes_of(60)
    labels[:10] = -1
    path = saved(tmp_path, inputs=rising(60, 6), labels=labels, pool=rising(5, 6), who=classes_of(60, 7))
    recipe = {"_target_": "mentor_mentee.data.arrays.arrays", "path": str(path), "owners": "who", "labels_per_class": 4}
    dropped = load_data(recipe).train
    assert Counter(dropped.labels.tolist()) == {0: 4, 1: 4, 2: 4}
    stay = load_data(recipe | {"keep_unlabelled": True, "unlabelled": "pool"}).train
    whole = load_data(recipe | {"keep_unlabelled": True, "unlabelled": "pool"}, whole=True).train
    assert Counter(stay.labels.tolist()) == {-1: len(whole) - 12, 0: 4, 1: 4, 2: 4}
    assert set(range(10)) | set(range(60, 65)) <= set(stay.positions[stay.labels < 0].tolist())
    for split in (dropped, stay, whole):  # a budget neither loses nor mixes up whose a sample is
        assert split.owners is not None
        assert split.owners.tolist() == [position % 7 if position < 60 else -1 for position in split.positions.tolist()]
    with pytest.raises(UserError, match=r"under data\.labels_per_class what has no label is dropped"):
        check_data(recipe | {"unlabelled": "pool"})


@pytest.mark.parametrize("word", [1e3, True, None])
@pytest.mark.parametrize("option", ["classes", "owner_names", "val_owners", "test_owners"])
def test_names_that_yaml_has_changed_are_refused(tmp_path: Path, option: str, word: object) -> None:
    path = saved(tmp_path, inputs=rising(30, 6), labels=classes_of(30, 2), owners=np.arange(30) % 3)
    with pytest.raises(
        UserError, match=rf"data.{option} has {word!r}, as YAML reads it; expected a name: write it in quo"
    ):
        arrays(path, owners="owners", **{option: ["a", word]})  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["inputs", "labels", "owners", "unlabelled"])
def test_an_array_whose_name_yaml_read_as_a_number_is_asked_for_in_quotes(tmp_path: Path, option: str) -> None:
    path = saved(tmp_path, inputs=rising(30, 6), labels=classes_of(30, 2))
    with pytest.raises(UserError, match=rf"data.{option}=7; expected the name of an array: write it in quotes"):
        arrays(path, **{option: 7})  # type: ignore[arg-type]


@pytest.mark.parametrize("missing", ["-1", "nan", "NaN", "None", "null", "<NA>", "NaT"])
@pytest.mark.parametrize("column", ["labels", "owners"])
def test_a_missing_value_that_became_text_is_no_name(tmp_path: Path, missing: str, column: str) -> None:
    """`df.astype(str)` writes such; a class of that name would be trained."""
    text = np.array(["walk", "run", missing])[np.arange(60) % 3]
    columns = {"labels": classes_of(60, 3), "owners": classes_of(60, 3)} | {column: text}
    path = saved(tmp_path, inputs=rising(60, 6), **columns)
    with pytest.raises(UserError, match=rf"{column}' in '.*' has '{missing}' among its strings; expected \"\" where"):
        arrays(path, owners="owners")
    named = arrays(
        path, owners="owners", **{"classes" if column == "labels" else "owner_names": ["run", "walk", missing]}
    )  # type: ignore[arg-type]
    assert missing in (named.classes if column == "labels" else named.train.owner_names)


@pytest.mark.parametrize(
    ("shape", "layout", "other"), [((30, 8, 9, 3), "NCHW", "NHWC"), ((30, 3, 8, 9), "NHWC", "NCHW")]
)
def test_a_layout_that_the_shape_speaks_against_is_said(
    tmp_path: Path, shape: tuple[int, ...], layout: str, other: str
) -> None:
    path = saved(tmp_path, inputs=np.random.default_rng(0).integers(0, 256, shape, np.uint8), labels=classes_of(30, 2))
    said: list[str] = []
    with reporting(said.append):
        assert arrays(path, layout=layout).shape[0] not in (1, 3)
    (line,) = said
    assert line.endswith(f"is it {other}?")
    with reporting(said.append):
        arrays(path, layout=other)
    assert len(said) == 1


def test_numbers_that_float32_would_make_steps_of_are_refused(tmp_path: Path) -> None:
    """Seconds since 1970, over an hour: float32 has one value every two minutes there."""
    inputs = rising(30, 2, 50).astype(np.float64)
    inputs[:, 1] = 1.7e9 + np.linspace(0, 3600, 30 * 50).reshape(30, 50)
    path = saved(tmp_path, inputs=inputs, labels=classes_of(30, 2))
    with pytest.raises(
        UserError, match=r"channel 1 of .* runs from 1\.7e\+09 to 1\.7000036e\+09; float32 holds it to 64"
    ):
        arrays(path, layout="NCL")
    inputs[:, 1] -= 1.7e9
    assert len(arrays(saved(tmp_path, inputs=inputs, labels=classes_of(30, 2)), layout="NCL").train)
