"""The bodies: a request's samples and its answer, both safetensors. Axes: N samples."""

import json
import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentor.serve.refused import Refused
from mentor.serve.served import Served

ANSWERS = "mentee-answers/1"  # format of an answer
MEDIA = "application/octet-stream"
LARGEST_HEADER = 1 << 16


def read_samples(body: bytes, served: Served, most: int) -> NDArray[np.generic]:
    """`input` [N, *shape] of the bundle's dtype, 1 to `most` samples. Raises `Refused`."""
    require_plain(body)
    try:
        tensors = load(body)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(422, f"the samples are no whole safetensors file ({error})") from None
    if set(tensors) != {"input"}:
        raise Refused(422, f"the samples hold {sorted(tensors)[:5]}; expected one tensor, `input`")
    input = tensors["input"]
    if str(input.dtype) != served.dtype or input.shape[1:] != served.shape or not len(input):
        sizes = ", ".join(map(str, served.shape))
        raise Refused(
            422, f"input is {input.dtype} {list(input.shape)}; expected {served.dtype} [N, {sizes}], N at least 1"
        )
    if len(input) > most:
        raise Refused(413, f"{len(input)} samples in one request; expected at most {most}")
    if served.dtype == "float32" and not np.isfinite(input).all():
        raise Refused(422, "input holds numbers that are not finite")
    return input


def require_plain(body: bytes) -> None:
    """Raises `Refused` for a header that is too long or no JSON, before anything parses the rest."""
    if len(body) < 8:
        raise Refused(422, f"the samples have {len(body)} bytes: they are no safetensors file")
    (length,) = struct.unpack("<Q", body[:8])
    if length > min(LARGEST_HEADER, len(body) - 8):
        raise Refused(
            422, "the samples' header is longer than the file, or than 65,536 bytes: truncated or no safetensors file"
        )
    try:
        header = json.loads(body[8 : 8 + length])
    except (ValueError, RecursionError):
        raise Refused(422, "the samples' header is no JSON: they are no safetensors file") from None
    if not isinstance(header, dict):
        raise Refused(422, "the samples' header is no JSON object: they are no safetensors file")


def write_answer(answer: Mapping[str, NDArray[np.generic]], served: Served, precision: str) -> bytes:
    """The answer's tensors, and whose answers they are."""
    about = {"format": ANSWERS, "bundle": served.bundle, "mentor": served.fingerprint, "precision": precision}
    return save(dict(answer), about)
