"""Packed numbers come back within what their precision says."""

import pytest
import torch

from mentor.cache.options import PRECISIONS
from mentor.cache.packing import Packing


def numbers(shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    value = torch.randn(7, *shape, generator=generator)
    loud = torch.logspace(-6, 6, value.shape[1]).view(-1, *(1,) * (len(shape) - 1))  # far beyond what float16 holds
    return value * loud


@pytest.mark.parametrize("shape", [(5,), (5, 4, 3), (6, 8), (4, 1, 1)])
@pytest.mark.parametrize(("precision", "share"), [("float32", 0.0), ("float16", 2**-12), ("int8", 1 / 254)])
def test_a_number_is_off_by_at_most_its_share_of_the_largest(
    shape: tuple[int, ...], precision: str, share: float
) -> None:
    value, packing = numbers(shape), Packing(shape, precision)
    packed = packing.pack(value)
    found = packing.unpack(packed)
    assert found.shape == value.shape
    assert packed.values.dtype == precision
    by_channel = precision == "int8" and len(shape) > 1
    groups = value.abs().flatten(2).amax(2) if by_channel else value.abs().flatten(1).amax(1, keepdim=True)
    most = groups.view(*groups.shape, *(1,) * (value.dim() - groups.dim()))
    assert ((found - value).abs() <= share * most * (1 + 1e-5)).all()
    assert packed.values[0].nbytes + packed.scales[0].nbytes == packing.bytes


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_map_comes_back_with_its_channels_last_in_memory(precision: str) -> None:
    packing = Packing((5, 4, 3), precision)
    found = packing.unpack(packing.pack(numbers((5, 4, 3))))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_zeros_stay_zeros_and_what_is_not_finite_is_not_made_finite(precision: str) -> None:
    value = torch.zeros(3, 2, 4)
    value[1, 0, 2] = torch.inf
    value[2, 1, 0] = torch.nan
    packing = Packing((2, 4), precision)
    found = packing.unpack(packing.pack(value))
    assert torch.equal(found[0], value[0])
    assert not found[1, 0].isfinite().all()
    assert found[2, 1].isnan().any()
