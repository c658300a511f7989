"""Edits of an exported state, format 2: of its bytes, of its record, of its parts, sealed again so that a reader must look.

    python -m benchmarks.crashes.mutants.exports BUNDLE FILE FOLDER [--mutants 500] [--seed 0]

writes FOLDER/N.state, and FOLDER/verdicts.json: what was done to each, and why the Python program refuses it, if it does.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Bundle, Learner, StateError
from mentee_device.relocate.portable.container import Content, packed, read_head, unpacked
from mentee_device.relocate.portable.reading import check

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**53,
    2**53 + 1,
    1.0,
    0.5,
    -0.5,
    1e308,
    "",
    "x",
    "9",
    [],
    {},
    [1],
    {"a": 1},
)


def read(file: Path, bundle: str) -> Content:
    """Content of an unharmed file."""
    with file.open("rb") as opened:
        head = read_head(opened, file.name)
        return unpacked(head, opened, file.stat().st_size - opened.tell(), file.name, bundle, None)


def mutant(whole: bytes, content: Content, bundle: str, seed: int, number: int) -> tuple[bytes, str]:
    """Bytes of mutant `number`, and what was done."""
    chance = random.Random(f"{seed} {number}")
    kind = chance.choices(("bytes", "head", "record", "swap", "part"), (2, 1, 8, 2, 3))[0]
    if kind == "bytes":
        return _bytes(whole, chance)
    if kind == "head":
        return _head(whole, chance)
    copy = Content(json.loads(json.dumps(content.record)), list(content.parts))
    what = {"record": _record, "swap": _swap, "part": _part}[kind](copy, chance)
    return _sealed(copy, bundle), what


def _sealed(content: Content, bundle: str) -> bytes:
    try:
        return packed(content, bundle, None)
    except ValueError:  # a number that JSON has not
        content.record["current"] = -1
        return packed(content, bundle, None)


def _bytes(whole: bytes, chance: random.Random) -> tuple[bytes, str]:
    at = chance.randrange(len(whole))
    how = chance.choice(("flip", "cut", "more", "zero"))
    if how == "flip":
        return whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1 :], f"flip at {at}"
    if how == "cut":
        return whole[:at], f"cut at {at}"
    return (whole + b"\0" * 3, "more") if how == "more" else (whole[:at] + bytes(8) + whole[at + 8 :], f"zeros at {at}")


def _head(whole: bytes, chance: random.Random) -> tuple[bytes, str]:
    line, _, body = whole.partition(b"\n")
    head = json.loads(line)
    name = chance.choice([*head, "more"])
    head[name] = chance.choice((*VALUES, "mentee-state/3", "0" * 64, 2**40, len(body) + 1))
    return json.dumps(head).encode() + b"\n" + body, f"head: {name} = {head[name]!r}"


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in _places(one, (*path, key)))]


def _record(content: Content, chance: random.Random) -> str:
    """One value is another, gone, or twice; rare tables are chosen as often as long ones."""
    table = chance.choice([*content.record])
    place = chance.choice(_places(content.record[table], (table,)))
    above: Any = content.record
    for key in place[:-1]:
        above = above[key]
    key, how = place[-1], chance.choice(("other", "other", "other", "gone", "twice", "near"))
    if how == "gone":
        del above[key]
    elif how == "twice" and isinstance(above, list):
        above.append(above[key])
    elif how == "near" and isinstance(above[key], int | float) and not isinstance(above[key], bool):
        above[key] += chance.choice((-1, 1, 0.25))
    elif how == "near" and isinstance(above[key], str):
        above[key] += chance.choice(("x", "0", "\n", "é"))
    elif how == "twice" and isinstance(above, dict):
        above["more"] = above[key]
    else:
        above[key] = chance.choice(VALUES)
    return f"{how} {'.'.join(map(str, place))}"


def _swap(content: Content, chance: random.Random) -> str:
    """Two values of one kind change places."""
    rows = chance.choice([rows for rows in content.record.values() if isinstance(rows, list) and rows])
    one, other = chance.choice(rows), chance.choice(rows)
    if not isinstance(one, dict):
        return "nothing"
    name = chance.choice([*one])
    one[name], other[name] = other[name], one[name]
    return f"swapped {name}"


def _part(content: Content, chance: random.Random) -> str:
    at = chance.randrange(len(content.parts))
    data = bytearray(content.parts[at])
    how = chance.choice(("short", "long", "nan", "inf", "huge", "flip", "same", "more", "gone"))
    if how == "more":
        content.parts.append(b"1234")
    elif how == "gone":
        del content.parts[at]
    elif how == "same":
        content.parts[at] = content.parts[chance.randrange(len(content.parts))]
    elif how in ("short", "long"):
        content.parts[at] = bytes(data[:-1] if how == "short" else data + b"\0")
    elif len(data) >= 4:
        place = chance.randrange(len(data) // 4) * 4
        number = {"nan": np.nan, "inf": -np.inf, "huge": 3.3e38, "flip": 1.0}[how]
        data[place : place + 4] = np.float32(number).tobytes()
        content.parts[at] = bytes(data)
    return f"{how} of part {at}"


def refusal(file: Path, bundle: Bundle, base: dict[str, Any]) -> str | None:
    """Why the Python program does not read it."""
    try:
        check(read(file, bundle.manifest.id), bundle.manifest, base, file.name)
    except StateError as error:
        return str(error)
    return None


def write_mutants(bundle: Bundle, file: Path, folder: Path, mutants: int, seed: int) -> list[dict[str, Any]]:
    """Writes them with their verdicts, which it returns."""
    with Learner(bundle, backend="stock") as learner:
        base = learner.parameters()
    whole, content = file.read_bytes(), read(file, bundle.manifest.id)
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = []
    for number in range(mutants):
        data, what = mutant(whole, content, bundle.manifest.id, seed, number)
        path = folder / f"{number}.state"
        path.write_bytes(data)
        verdicts.append({"path": path.name, "what": what[:200], "refused": refusal(path, bundle, base)})
    (folder / "verdicts.json").write_text(json.dumps(verdicts))
    return verdicts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("bundle", "file", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with Bundle.open(given.bundle) as bundle:
        verdicts = write_mutants(bundle, given.file, given.folder, given.mutants, given.seed)
    print(f"{len(verdicts)} mutants, {sum(one['refused'] is not None for one in verdicts)} refused")


if __name__ == "__main__":
    main()
