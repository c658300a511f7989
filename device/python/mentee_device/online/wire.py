"""Requests to the service and its answers, byte by byte (docs/serve.md). Axes: N samples, K classes."""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mentee_device.bundle.manifest import Manifest
from mentee_device.online.errors import AskError, NotNow

FORMAT = "mentee-answers/1"
BOUNDARY = "mentee-device-8f1b6c0e5d"  # of the form's parts; one that occurs in the samples is lengthened
HEAD = 1 << 16  # bytes of an answer besides its numbers


@dataclass(frozen=True)
class Reply:
    """`mentor_logits` float32 [N, K]; `activations` per probe float16 [N, ...]."""

    mentor_logits: NDArray[np.float32]
    activations: dict[str, NDArray[np.float16]]


def request_body(input: NDArray[Any], bundle: str, mentor: str) -> tuple[bytes, str]:
    """(body, Content-Type) of raw samples [N, C, H, W]: a multipart form of three parts. Nothing else of the device is in it."""
    samples = save({"input": np.ascontiguousarray(input)})
    boundary = BOUNDARY
    while boundary.encode() in samples:
        boundary += "x"
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("bundle", bundle), ("mentor", mentor))
    )
    head = (
        f'{fields}--{boundary}\r\nContent-Disposition: form-data; name="samples"; filename="samples.safetensors"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + samples + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def largest_reply(manifest: Manifest, samples: int) -> int:
    """Bytes that an answer to so many samples may have."""
    numbers = 4 * len(manifest.classes) + sum(2 * int(np.prod(shape)) for shape in manifest.probes.values())
    return samples * numbers + HEAD


def read_reply(content: bytes, manifest: Manifest, mentor: str, samples: int) -> Reply:
    """Checks whose answers these are, and every shape. Raises AskError for another mentor's, NotNow for a damaged answer."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        about = json.loads(content[8 : 8 + length])["__metadata__"]
        stated = {name: str(about[name]) for name in ("format", "bundle", "mentor")}
        tensors = load(content)
        logits = tensors["mentor_logits"]
        activations = {name: tensors[f"mentor_{name}"] for name in manifest.probes}
    except (SafetensorError, struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotNow(
            f"the service's answer cannot be read ({type(error).__name__}): cut off, or no mentor's service"
        ) from error
    if stated["format"] != FORMAT:
        raise AskError(f"the service answers as {stated['format'][:40]!r}, this program reads {FORMAT!r}: update one")
    if stated["mentor"] != mentor or stated["bundle"] != manifest.id:
        raise AskError(
            f"the service answers for mentor {stated['mentor'][:12]}… and bundle {stated['bundle'][:12]}…, expected "
            f"{mentor[:12]}… and {manifest.id[:12]}…: its answers are refused"
        )
    expected: dict[str, tuple[int, ...]] = {"mentor_logits": (samples, len(manifest.classes))}
    expected |= {f"mentor_{name}": (samples, *shape) for name, shape in manifest.probes.items()}
    for name, shape in expected.items():
        dtype = np.float32 if name == "mentor_logits" else np.float16
        if tensors[name].shape != shape or tensors[name].dtype != dtype or not np.isfinite(tensors[name]).all():
            raise AskError(
                f"the service's {name} is {tensors[name].dtype} {list(tensors[name].shape)}, expected {list(shape)}"
            )
    return Reply(logits, activations)
