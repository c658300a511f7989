"""The page, built with mentees made for its tests, and drawings of shapes that its mentee never saw."""

import json
from pathlib import Path
from typing import Any

import numpy as np

import distill
from export.bundle.write import export_bundle
from export.schema import ExportSettings
from mentor_mentee.data.strokes.drawing import points
from mentor_mentee.data.strokes.glyphs import forms
from mentor_mentee.data.strokes.hands import Hand, hand

NEW = ("heart", "star", "house", "cat", "lightning", "anchor", "umbrella", "note", "crown", "flag")
KNOWN = ("sun", "fish", "tree")
STRANGER = 1000  # a hand that drew nothing for the base
TEACH, ASK = 5, 4  # drawings of each

# The shapes' mentee is that of `make page`, from half the drawings in fewer epochs; digits are not learnt from here: theirs is
# trained for less.
ROOMS: dict[str, tuple[list[str], dict[str, int]]] = {
    "shapes": (
        [
            *("experiment=strokes", "~probes.late", "data.samples=100", "data.hands=64"),
            *("mentor.fit.max_epochs=3", "trainer.max_epochs=5"),
        ],
        {"spare_classes": 8, "supervision_per_class": 10, "golden_per_class": 10},
    ),
    "digits": (
        ["experiment=mnist5k_demo", "mentor.fit.max_epochs=1", "trainer.max_epochs=2"],
        {"supervision_per_class": 4, "golden_per_class": 4},
    ),
}


def write_bundles(folder: Path) -> None:
    """`folder`/ROOM.zip of both."""
    for room, (words, given) in ROOMS.items():
        run = folder / f"{room}-run"
        config = distill.compose(
            [
                *words,
                "mentor.least_accuracy=0",
                "preflight=false",
                "accelerator=cpu",
                "threads=1",
                f"run_dir={run}",
                f"cache_dir={folder / 'cache'}",
            ]
        )
        checkpoint = distill.distill(config).checkpoint
        export_bundle(checkpoint, folder / room, ExportSettings(backend="stock", **given))


def write_strokes(file: Path) -> None:
    """Drawings by one hand as lists of strokes, each a list of points (x, y, pressure) on a canvas."""
    stranger = hand(STRANGER)
    told = {kind: [shape(name, stranger) for name in names] for kind, names in (("shapes", NEW), ("known", KNOWN))}
    file.write_text(json.dumps(told))


def shape(name: str, by: Hand) -> dict[str, Any]:
    """In the form of it that the hand is used to."""
    known = forms(name)
    strokes = known[by.seed % len(known)]
    ends = np.cumsum([len(stroke) for stroke in strokes])[:-1]
    random = np.random.default_rng([1, by.number, *name.encode()])
    drawings = []
    for _ in range(TEACH + ASK):
        place_NT2, pressure_NT = points(strokes, [by], random)
        point_T3 = np.column_stack([place_NT2[0], pressure_NT[0]]).round(2)
        drawings.append([stroke.tolist() for stroke in np.split(point_T3, ends)])
    return {"name": name, "teach": drawings[:TEACH], "ask": drawings[TEACH:]}
