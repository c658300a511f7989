"""Reads the columns of a file of arrays: source images, class numbers, owners.

Axes: N samples, C channels, H height, W width, L length of a signal.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.progress import remark

LAYOUTS = ("NCHW", "NHWC", "NHW", "NCL", "NLC", "NL")
UNKNOWN = ("-1", "nan", "none", "null", "<na>", "nat")  # as a missing value is written where a column becomes strings
EXACT = 1 << 24  # every whole number up to here is a float32


class Shaped(Protocol):
    """An array, or one on disk of which only this is known."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def ndim(self) -> int: ...


class Codes(NamedTuple):
    """A column as int64 [N], -1 where it says nothing, and the names that 0, 1, ... stand for; no names where the column's
    own numbers are all there is."""

    code_N: NDArray[np.int64]
    names: tuple[str, ...]


def as_images(array: NDArray[Any], layout: str | None, where: str) -> Tensor:
    """[N, C, H, W] uint8 or float32, of inputs in any layout. Raises `UserError` for other kinds of numbers and for NaN."""
    layout = layout_of(array, layout, where)
    require_single(array, layout, where)
    return torch.from_numpy(in_NCHW(array, layout, where))


def layout_of(array: Shaped, layout: str | None, where: str) -> str:
    """The layout of an array, given or shown by its shape. Raises `UserError` where neither is so, or it is empty."""
    layout = _layout(array, layout, where)
    if 0 in array.shape:
        raise UserError(f"{where} has shape {list(array.shape)}; expected at least one sample, none of them empty")
    _remark_channels(array, layout, where)
    return layout


def in_NCHW(array: NDArray[Any], layout: str, where: str) -> NDArray[Any]:
    """[N, C, H, W] uint8 or float32. Raises `UserError` for other kinds of numbers and for NaN."""
    wide = "L" if "L" in layout else "W"
    axes_NCHW = [axis for axis in ("N", "C", "H", wide) if axis in layout]
    array = array.transpose([layout.index(axis) for axis in axes_NCHW])
    absent = tuple(i for i, axis in enumerate(("N", "C", "H", wide)) if axis not in layout)
    return np.ascontiguousarray(np.expand_dims(_numbers(array, where), absent))


def _layout(array: Shaped, layout: str | None, where: str) -> str:
    fitting = [known for known in LAYOUTS if len(known) == array.ndim]
    sizes = {known: ", ".join(f"{axis}={n}" for axis, n in zip(known, array.shape, strict=True)) for known in fitting}
    choice = " or ".join(f"{known} ({sizes[known]})" for known in fitting)
    shape = f"{where} has shape {list(array.shape)}"
    if not fitting:
        raise UserError(f"{shape}; expected 2 to 4 axes, samples first: one of {', '.join(LAYOUTS)}")
    if layout is not None:
        if layout not in LAYOUTS:
            raise UserError(f"layout={layout}{did_you_mean(layout, LAYOUTS)} (there are {', '.join(LAYOUTS)})")
        if layout not in fitting:
            raise UserError(f"{shape}, which is not layout={layout}; set data.layout to {choice}")
        return layout
    if array.ndim == 4:
        fitting = [known for known in fitting if array.shape[known.index("C")] in (1, 3)]
    elif array.ndim == 3 and array.dtype == np.uint8:
        fitting = ["NHW"]
    if len(fitting) != 1:
        raise UserError(f"{shape}, which does not say what its axes are; set data.layout to {choice}")
    return fitting[0]


def _remark_channels(array: Shaped, layout: str, where: str) -> None:
    """Says what a layout makes of a shape that looks like the other one."""
    if layout not in ("NCHW", "NHWC"):
        return
    channels, other = array.shape[layout.index("C")], array.shape[1 if layout == "NHWC" else 3]
    if channels not in (1, 3) and other in (1, 3):
        remark(
            f"warning: {where} has shape {list(array.shape)}, which layout={layout} reads as {channels} channels of "
            f"{array.shape[layout.index('H')]}×{array.shape[layout.index('W')]}; is it {'NHWC' if layout == 'NCHW' else 'NCHW'}?"
        )


def require_single(array: NDArray[Any], layout: str, where: str) -> None:
    """Raises `UserError` for float64 channels of which float32 would keep steps only, as times of day in seconds since 1970."""
    if array.dtype != np.float64:
        return
    for c, channel in enumerate(np.moveaxis(array, layout.index("C"), 0) if "C" in layout else [array]):
        with np.errstate(over="ignore", invalid="ignore"):
            lost, spread = np.abs(channel - channel.astype(np.float32)).max(), channel.std()
        if np.isfinite(lost) and lost > 1e-3 * spread > 0:
            raise UserError(
                f"channel {c} of {where} runs from {channel.min():.9g} to {channel.max():.9g}; float32 holds it to {lost:.2g} "
                "only, too coarse for how little it varies: subtract its mean before you save it"
            )


def _numbers(array: NDArray[Any], where: str) -> NDArray[Any]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "fiub":
        raise UserError(f"{where} is of {array.dtype}; expected numbers: uint8, whole numbers or floats")
    if array.dtype.kind in "iu" and max(int(array.max()), -int(array.min())) > EXACT:
        raise UserError(
            f"{where} is {array.dtype} and runs from {array.min()} to {array.max()}, which float32 cannot hold exactly "
            f"(up to {EXACT}); scale it, and save it as float32"
        )
    with np.errstate(over="ignore"):
        single = array.astype(np.float32, copy=False)
    finite = np.isfinite(single)
    if not finite.all():
        first = np.unravel_index(int(np.argmin(finite)), array.shape)
        raise UserError(
            f"{where} is {array[first]} at sample {first[0]} (first of {int((~finite).sum())} such values); expected "
            "finite float32 numbers: drop those samples or fill them in"
        )
    return single


def as_codes(array: NDArray[Any], names: tuple[str, ...] | None, where: str) -> Codes:
    """Codes of numbers from 0 or of strings: those among `names`, by default all that occur, sorted. -1 and "" say nothing."""
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        raise UserError(
            f"{where} is {array.dtype} of shape {list(array.shape)}; expected [N] whole numbers or strings, one a sample"
        )
    if array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
        raise UserError(f"{where} runs to {array.max()}; expected numbers below 2^63")
    if array.dtype.kind in "US":
        return _numbered(as_text(array, where), names, where)
    code_N = array.astype(np.int64)
    least, most = int(code_N.min(initial=0)), int(code_N.max(initial=-1))
    if least < -1 or (names is not None and most >= len(names)):
        expected = "0 or more" if names is None else f"0 to {len(names) - 1} for {len(names)} names"
        raise UserError(f"{where} runs from {least} to {most}; expected {expected}, or -1 where it is not known")
    return Codes(code_N, names or ())


def as_labels(array: NDArray[Any], classes: tuple[str, ...] | None, where: str) -> Codes:
    """`as_codes` of two classes or more. Numbers without names must leave no gap, and become their own names."""
    label = as_codes(array, classes, where)
    if classes is None and array.dtype.kind in "iu":
        present = np.unique(label.code_N[label.code_N >= 0])
        if len(present) and present[-1] >= len(present):
            gap = next(i for i, code in enumerate(present) if i != code)
            raise UserError(
                f"{where} runs from {present[0]} to {present[-1]}, but no sample is of class {gap}; expected classes 0 to K-1 "
                "without a gap: number them so, or name all of them with data.classes=[...]"
            )
        label = Codes(label.code_N, tuple(map(str, present.tolist())))
    if len(label.names) < 2 or len(set(label.names)) != len(label.names):
        raise UserError(f"the classes of {where} are {list(label.names)[:20]}; expected two or more different ones")
    return label


def as_text(array: NDArray[Any], where: str) -> NDArray[np.str_]:
    """[N] strings; bytes are read as UTF-8."""
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise UserError(f"{where} is {array.dtype} of shape {list(array.shape)}; expected [N] strings")
    try:
        return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except UnicodeDecodeError as error:
        raise UserError(f"{where} holds bytes that are no UTF-8 ({error}); save it as strings") from None


def _numbered(text_N: NDArray[np.str_], names: tuple[str, ...] | None, where: str) -> Codes:
    present, inverse_N = np.unique(text_N, return_inverse=True)
    known = tuple(name for name in present.tolist() if name) if names is None else names
    if names is None and (missing := [name for name in known if name.strip().casefold() in UNKNOWN]):
        raise UserError(
            f'{where} has {missing[0]!r} among its strings; expected "" where it is not known: write that, or name all of them, '
            "this one too, with data.classes=[...] or data.owner_names=[...]"
        )
    place = {name: i for i, name in enumerate(known)} | {"": -1}
    for name in present.tolist():
        if name not in place:
            raise UserError(f"{where} has {name!r}, which is not among the names given{did_you_mean(name, known)}")
    code_P = np.array([place[name] for name in present.tolist()], np.int64)
    return Codes(code_P[inverse_N], known)
