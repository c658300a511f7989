"""The guard on simulated owners: what each gains, which runs are refused, and which of the refused were harmless.

    python -m benchmarks.personal.owners DATA_ROOT [--work runs/owners] [--sets …] [--labels 0 3] [--draws 0] [--settings '{…}']

Owners are real speakers and writers and simulated people in motion, each as they are and in seven harder versions (hard.py).
Bases are trained once and stored under --work. Every owner learns by the program's defaults, in a process of the device program
alone, and is judged by held-out labelled samples. A run is *harmful* where owner or everybody else would lose more than
2 points and more than two standard errors; *harmless* where neither would lose more than two standard errors, or .5 points of
everybody else. Prints a table over owners, and with --rows one row for each.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device_process import told
from benchmarks.personal.figures import spread
from benchmarks.personal.files import Base
from benchmarks.personal.hard import KINDS
from benchmarks.personal.people import motion, spoken_digits, writers

SPEAKERS = {"chosen on": ("george", "nicolas", "theo"), "reported": ("jackson", "lucas", "yweweler")}
NO_VIEWS = ["mentor.fit.augment.transforms=[]", "trainer.augment.transforms=[]", "trainer.augment.views=null"]
IMAGES = [
    "mentor.network._target_=mentee.networks.PlainCNN",
    "mentor.network.widths=[24,48,64]",
    "mentee=plain_cnn",
    "mentee.network.widths=[8,16,32]",
]


MOTION = [*NO_VIEWS, "mentee.network.widths=[16,24,32]", "trainer.max_epochs=6", "mentor.fit.max_epochs=6"]


@dataclass(frozen=True)
class Set:
    """Owners of one kind of data: `data` the npz, `recipe` overrides of base.py's, `judged` the share of samples that judge."""

    domain: str
    data: str
    layout: str
    recipe: Sequence[str]
    judged: float
    learning_rate: float = 3e-3


SETS = {
    "digits": Set("speech", "digits", "NCL", (), 0.5),
    "digits, weak base": Set("speech", "digits", "NCL", ("trainer.max_epochs=3", "mentor.fit.max_epochs=4"), 0.5),
    "writers": Set("writing", "writers", "NHW", (*IMAGES, *NO_VIEWS, "trainer.max_epochs=10"), 0.5),
    "motion 0": Set("motion", "motion0", "NCL", MOTION, 0.7),
    "motion 1": Set("motion", "motion1", "NCL", MOTION, 0.7),
}


def make_data(name: str, root: Path, target: Path) -> None:
    """Writes the npz of a set where it is not there yet."""
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if name == "digits":
        spoken_digits.convert(root / "fsdd.npz", target)
    elif name == "writers":
        np.savez(target, **writers.convert(root / "MNIST"))
    else:
        np.savez(target, **motion.simulate(int(name.removeprefix("motion"))))


def base_of(work: Path, name: str, person: str, data: Path) -> Base:
    """The base that `person` starts from, trained and exported where it is not there yet."""
    one = Base(person, work / name.replace(", ", "-").replace(" ", "-") / person)
    if not (one.checkpoint.is_file() and one.samples.is_file() and one.bundle("all").is_dir()):
        from benchmarks.personal.base import export, make_base  # imports torch: not for what is stored

        make_base(one, data, "owners", SETS[name].layout, SETS[name].recipe)
        export(one, "all")
    return one


def asked(name: str, data: Path) -> list[tuple[str, list[list[Any]]]]:
    """For each base of a set its name, and its owners: name, rows of theirs and of another, domain, kind."""
    kinds = list(KINDS[SETS[name].domain])
    with np.load(data) as arrays:
        owners, persons = arrays["owners"].astype(str), arrays.get("persons")
    if persons is None:  # a base for each owner, to whom the others are known
        counts = {one: int((owners == one).sum()) for one in np.unique(owners).tolist()}
        return [
            (one, [[f"{one}, {kind}", list(range(count)), [], SETS[name].domain, kind] for kind in kinds])
            for one, count in counts.items()
        ]
    persons = persons[owners == "held"].astype(str)
    names = sorted(np.unique(persons).tolist(), key=lambda one: int(one[1:]))
    rows = {one: np.flatnonzero(persons == one).tolist() for one in names}
    found = []
    for number, one in enumerate(names):
        other = rows[names[(number + 1) % len(names)]]
        some = dict.fromkeys(["plain", kinds[number % len(kinds)]])
        found += [[f"{one}, {kind}", rows[one], other, SETS[name].domain, kind] for kind in some]
    return [("held", found)]


def reported(name: str, owner: str) -> bool:
    """Whether nothing was chosen on this owner."""
    if SETS[name].domain == "speech":
        return owner.split(",")[0] in SPEAKERS["reported"]
    return name == "motion 1" or (name == "writers" and int(owner[1:].split(",")[0]) % 2 == 1)


def verdict_of(row: dict[str, Any]) -> str:
    """harmful, harmless or between: what the candidate of a run would do; see the head of this file."""
    one, n = row["candidate"], row["test"]
    change = 100 * (one["owner"][1] - one["owner"][0])
    error = 100 * max(1.0, one["better"] + one["worse"]) ** 0.5 / n
    everybody = 100 * (one["everybody"][1] - one["everybody"][0])
    if change < -max(2.0, 2 * error) or everybody < -2.0:
        return "harmful"
    return "harmless" if change >= -2 * error and everybody >= -0.5 else "between"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each set and number of labels."""
    lines = [
        "| owners | labels a class | runs | before, % | gain | everybody | worst owner | harmed | refused | harmless refused "
        "| harmful kept | gain without a guard |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, k in dict.fromkeys((row["set"], row["k"]) for row in rows):
        some = [row for row in rows if (row["set"], row["k"]) == (name, k)]
        lines.append(line(name, k, some))
    return "\n".join(lines)


def points(row: dict[str, Any], what: str, whose: str) -> float:
    before, after = row[what][whose]
    return float(100 * (after - before))


def line(name: str, k: int, rows: Sequence[dict[str, Any]]) -> str:
    gains = [points(row, "answers", "owner") for row in rows]
    dropped = [row for row in rows if row["status"] == "dropped"]
    harmless = [row for row in rows if verdict_of(row) == "harmless"]
    harmful = [row for row in rows if verdict_of(row) == "harmful"]
    harmed = sum(verdict_of({**row, "candidate": row["answers"]}) == "harmful" for row in rows)
    cells = [
        name,
        str(k),
        str(len(rows)),
        spread([100 * row["answers"]["owner"][0] for row in rows], ".1f"),
        spread(gains, "+.1f"),
        spread([points(row, "answers", "everybody") for row in rows], "+.2f"),
        f"{min(gains):+.1f}",
        f"{harmed} of {len(rows)}",
        f"{len(dropped)} of {len(rows)}",
        f"{sum(row['status'] == 'dropped' for row in harmless)} of {len(harmless)}",
        f"{sum(row['status'] == 'accepted' for row in harmful)} of {len(harmful)}",
        spread([points(row, "candidate", "owner") for row in rows], "+.1f"),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.personal.owners")
    parser.add_argument("root", type=Path, help="where fsdd.npz and MNIST/ lie")
    parser.add_argument("--work", type=Path, default=Path("runs/owners"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS), metavar="SET")
    parser.add_argument("--labels", type=int, nargs="+", default=[0, 3], help="a class")
    parser.add_argument("--draws", type=int, nargs="+", default=[0], help="their seeds")
    parser.add_argument("--part", choices=["chosen on", "reported"], help="only these owners (default: all)")
    parser.add_argument("--settings", type=json.loads, default={}, help="of the program, as JSON")
    parser.add_argument("--store", default="rows", help="name of the file of rows under --work")
    parser.add_argument("--rows", action="store_true", help="prints a line for each run as well")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in given.sets:
        data = given.work / f"{SETS[name].data}.npz"
        make_data(SETS[name].data, given.root, data)
        for person, whole in asked(name, data):
            owners = [
                one for one in whole if given.part is None or reported(name, one[0]) == (given.part == "reported")
            ]
            if not owners:
                continue
            base = base_of(given.work, name, person, data)
            what = {
                "owners": owners, "labels": given.labels, "draws": given.draws, "judged": SETS[name].judged,
                "learning_rate": SETS[name].learning_rate, "settings": given.settings,
            }  # fmt: skip
            asking = given.work / f"{given.store}.asked.json"
            asking.write_text(json.dumps(what))
            found = told("benchmarks.personal.owners_device", base.bundle("all"), base.samples, asking)
            rows += [{"set": name, "reported": reported(name, row["owner"]), **row} for row in found["rows"]]
            print(f"{name}, {person}: peak {found['peak_mib']:.0f} MiB", file=sys.stderr, flush=True)
            (given.work / f"{given.store}.json").write_text(json.dumps(rows))
    for row in rows if given.rows else []:
        print(f"{row['set']}, {row['owner']}, {row['k']} labels: {verdict_of(row)}, {row['status']}, {row['why']}")
    for title, some in (("chosen on", False), ("reported", True)):
        print(f"\n{title}:\n\n{table([row for row in rows if row['reported'] == some])}")


if __name__ == "__main__":
    main()
