"""Edits of a bundle's packs, of its checkpoint's numbers, and of the state of its stock graphs."""

import json
import random
import struct
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

SMALLEST = 1e-6


def edit_pack(path: Path, chance: random.Random) -> str:
    """Other samples, labels or answers, or another header; what was done."""
    how = chance.choice(("labels", "mixed", "values", "shape", "dtype", "gone", "header", "header", "axes", "fewer"))
    if how in ("header", "axes"):
        return f"{how} {_edit_header(path, chance, how)}"
    tensors = load_file(path)
    name = chance.choice([*tensors])
    value = tensors[name]
    if how == "labels":
        tensors["labels"] = chance.choice(
            (tensors["labels"][::-1], tensors["labels"] + 1, tensors["labels"] * 0)
        ).copy()
    elif how == "mixed":
        order = np.random.default_rng(chance.randrange(2**32)).permutation(len(value))
        tensors[name] = value[order].copy()
    elif how == "values" and value.dtype.kind == "f":
        tensors[name] = np.full_like(value, chance.choice((np.nan, np.inf, 65504, -65504, 0)))
    elif how == "values":
        tensors[name] = np.full_like(value, chance.choice((0, 1, 9, 255)) if value.dtype == np.uint8 else 2**40)
    elif how == "shape":
        tensors[name] = value.reshape(-1)
    elif how == "dtype":
        tensors[name] = value.astype(chance.choice((np.float32, np.float64, np.int8, np.bool_)))
    elif how == "gone":
        del tensors[name]
    else:
        tensors = {key: one[: len(one) // 2].copy() for key, one in tensors.items()}
    save_file(tensors, path)
    return f"{how} of {name}"


def edit_state(path: Path, chance: random.Random) -> str:
    """Other vectors in the state of stock graphs, or another header; what was done."""
    how = chance.choice(("header", "axes", "values", "shorter", "longer", "shape", "dtype", "gone", "more", "twice"))
    if how in ("header", "axes"):
        return f"{how} {_edit_header(path, chance, how)}"
    tensors = load_file(path)
    name = chance.choice([*tensors])
    value = tensors[name]
    if how == "values":
        tensors[name] = np.full_like(value, chance.choice((np.nan, np.inf, 3e38, -3e38, 1e-45, 0)))
    elif how == "shorter":
        tensors[name] = value[: chance.randrange(len(value))].copy()
    elif how == "longer":
        tensors[name] = np.concatenate([value, value[: chance.choice((1, 4096))]])
    elif how == "shape":
        tensors[name] = value.reshape(chance.choice(((1, -1), (-1, 1), (1, 1, -1))))
    elif how == "dtype":
        tensors[name] = value.astype(chance.choice((np.float16, np.float64, np.int32, np.bool_)))
    elif how == "gone":
        del tensors[name]
    elif how == "more":
        tensors[chance.choice(("moment1", "step", "statistics", "other", "\n", ""))] = value.copy()
    else:
        tensors = {f"{name}2": value, **tensors}
    save_file(tensors, path)
    return f"{how} of {name}"


def _edit_header(path: Path, chance: random.Random, how: str) -> str:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    name = chance.choice([one for one in header if one != "__metadata__"])
    if how == "axes":
        header[name]["shape"] = [1] * chance.choice((33, 65, 100, 1000)) + header[name]["shape"]
        what = "many"
    else:
        what = chance.choice(("F8_E4M3", "F8_E5M2", "BF16", "F4", "U64", "BOOL", "X", "end", "long", "deep"))
        if what == "end":
            header[name]["data_offsets"][1] = chance.choice((0, 2**62, -1, 10**400))
        elif what == "deep":
            header["x"] = [[[[]]]]
        elif what != "long":
            header[name]["dtype"] = what
    text = json.dumps(header).encode()
    start = struct.pack("<Q", 2**62 if what == "long" else len(text))
    path.write_bytes(start + text + data[8 + length :])
    return f"{what} {name}"


def edit_weights(path: Path, chance: random.Random) -> str:
    """Floats of the checkpoint where they lie in a row: not finite, huge, mixed up, turned round."""
    data = bytearray(path.read_bytes())
    whole = np.frombuffer(bytes(data[: len(data) // 4 * 4]), "<f4")
    with np.errstate(invalid="ignore"):
        likely = (np.abs(whole) < 10) & (np.abs(whole) > SMALLEST)
    start, end = _longest(likely)
    part = whole[start:end].copy()
    how = chance.choice(("nan", "inf", "huge", "mixed", "turned", "zero", "tiny"))
    place = chance.randrange(len(part))
    if how in ("nan", "inf", "huge"):
        part[place] = {"nan": np.nan, "inf": np.inf, "huge": 3e38}[how]
    elif how == "mixed":
        np.random.default_rng(chance.randrange(2**32)).shuffle(part)
    else:
        part *= {"turned": -1, "zero": 0, "tiny": 1e-38}[how]
    data[4 * start : 4 * end] = part.tobytes()
    path.write_bytes(data)
    return f"{how}, {end - start} numbers"


def _longest(of: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> tuple[int, int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], of.astype(int), [0]])))
    starts, ends = edges[::2], edges[1::2]
    best = int(np.argmax(ends - starts))
    return int(starts[best]), int(ends[best])
