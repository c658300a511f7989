"""Choice of the samples of a class for replay, and how many fit: rules on the mentee's own embedding.

random     any
herding    those whose running mean stays closest to the mean of the class (iCaRL, arXiv 1611.07725, Algorithm 4)
k_centre   the one closest to the mean, then each time the one farthest from all chosen (arXiv 1708.00489, Algorithm 1)

Axes: N samples of one class, D embedding.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mentor_mentee.data.store.images import Images
from mentor_mentee.errors import UserError

Embed = Callable[[Images], Tensor]  # images of one class -> their embeddings [N, ...]
HEADER = 200  # bytes of a safetensors header that one tensor takes at most


def choose(rule: str, embedding_ND: Tensor, count: int) -> Tensor:
    """Positions of `count` of N samples, fewer where N is less, the most telling one first."""
    embedding_ND = embedding_ND.flatten(1).double()
    return (herding if rule == "herding" else k_centre)(embedding_ND, min(count, len(embedding_ND)))


def herding(embedding_ND: Tensor, count: int) -> Tensor:
    """Each embedding is scaled to length 1 first, as the paper does."""
    points_ND = normalize(embedding_ND, dim=1)
    mean_D, total_D = points_ND.mean(0), torch.zeros_like(points_ND[0])
    chosen: list[int] = []
    for size in range(1, count + 1):
        distance_N = (mean_D - (total_D + points_ND) / size).norm(dim=1)
        distance_N[chosen] = math.inf
        chosen.append(int(distance_N.argmin()))
        total_D = total_D + points_ND[chosen[-1]]
    return torch.tensor(chosen)


def k_centre(embedding_ND: Tensor, count: int) -> Tensor:
    chosen = [int((embedding_ND - embedding_ND.mean(0)).norm(dim=1).argmin())]
    nearest_N = (embedding_ND - embedding_ND[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        nearest_N[chosen] = -1.0  # of equal samples none is taken twice
        chosen.append(int(nearest_N.argmax()))
        nearest_N = torch.minimum(nearest_N, (embedding_ND - embedding_ND[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def fitting(megabytes: float, sample: int, classes: int, tensors: int) -> int:
    """Counts the samples of each of `classes` that fit a pack of `megabytes` (10^6 bytes), one sample being `sample` bytes.

    Raises `UserError` where not even one of each does.
    """
    header = HEADER * tensors
    count = int((megabytes * 1e6 - header) // (sample * classes))
    if count < 1:
        needed = math.ceil((sample * classes + header) / 1e3) / 1e3
        raise UserError(
            f"supervision_mb={megabytes:g} holds no sample of each class: one is {sample:,} bytes, and {classes} classes need "
            f"{needed:g} MB at least; raise it, or distill with fewer or smaller probes"
        )
    return count


def sample_bytes(shape: Sequence[int], dtype: str, classes: int, probes: Sequence[Sequence[int]]) -> int:
    """Size of a supervision pack's sample: its pixels, its label in int64, the mentor's answers in half precision."""
    return math.prod(shape) * (1 if dtype == "uint8" else 4) + 8 + 2 * (classes + sum(map(math.prod, probes)))
