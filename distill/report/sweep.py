"""One comparison of all runs of a sweep: mean ± std over the seeds of each combination of the other overrides, and what it
gains over the lone mentee of the same combination.

    python -m distill.report.sweep FOLDER

makes it anew of what finished under FOLDER: after a sweep that was killed, or of single runs side by side.
"""

from mentor_mentee.interrupt import as_usual, end_at_once

if __name__ == "__main__":
    end_at_once()  # until everything is imported

import sys
from argparse import ArgumentParser
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from rich.console import Console

from distill.report.comparison import (
    Difference,
    Scored,
    Spread,
    Unit,
    differences,
    other_augmentation,
    pairs_by_seed,
    spreads,
    unit_of,
)
from distill.report.page import Picture, Table, shown, write_report
from distill.report.record import RunRecord
from distill.run_folder import RECORD
from mentor_mentee.config.launched import FAILED
from mentor_mentee.config.renamed import with_new_name
from mentor_mentee.errors import UserError
from mentor_mentee.files import write_json
from mentor_mentee.output import quiet_when_unread

COLUMNS = {"accuracy": "test %", "ece": "ECE %", "agreement": "as mentor %", "kl": "KL, nats"}  # all on the test split
MENTOR_ONLY = ("mentor", "schedule", "loss", "probes", "cache")  # do not reach a lone mentee
AGAINST_MENTOR = ("agreement", "kl")  # scores that are no pair where the mentors are two
LONGEST = 48  # characters of a setting's value in an arm's label


@dataclass(frozen=True)
class SweptRun:
    folder: Path
    overrides: dict[str, str]
    record: RunRecord | None  # None: it failed
    failure: str = ""


@dataclass(frozen=True)
class Arm:
    """All finished runs of one combination of overrides; they differ by their seeds."""

    label: str
    overrides: dict[str, str]  # without the seed
    runs: Sequence[Scored]

    @property
    def lone(self) -> bool:
        return all(run.record.lone for run in self.runs)

    @property
    def val_accuracy(self) -> Spread | None:
        found = [run.record.val_accuracy for run in self.runs]
        return Spread.of([value for value in found if value is not None]) if None not in found else None


@dataclass(frozen=True)
class Gain:
    """An arm against the lone mentee; `problem` says why its runs are no pairs."""

    control: str
    found: dict[str, Difference] = field(default_factory=dict)
    problem: str = ""
    apart: str = ""  # how the augmentation of both differs


def compare_sweep(folder: Path, jobs: Collection[Path] = ()) -> None:
    """Reads what the sweep's runs left, prints the comparison and leaves it as `comparison.json`, `.html` and `.png`. `jobs`:
    absolute paths of the runs to compare, all of them where it is empty."""
    runs = [run for run in read_sweep(folder) if not jobs or run.folder.resolve() in jobs]
    arms = arms_of(runs)
    if not arms:
        return  # each failure was printed as it happened
    gains = {arm.label: gain for arm in arms if (gain := gain_of(arm, arms)) is not None}
    table = comparison_table(runs, arms, gains)
    table.print(Console(width=None if sys.stdout.isatty() else 140))
    write_json(folder / "comparison.json", as_json(runs, arms, gains))
    from distill.report.figures import draw_comparison  # matplotlib and torch: only where something is drawn

    draw_comparison(
        {arm.label: [run.scores["accuracy"] for run in arm.runs] for arm in arms},
        {label: gain.found["accuracy"] for label, gain in gains.items() if gain.found},
        folder / "comparison.png",
    )
    picture = Picture("Test accuracy, a point for each seed, and paired differences", folder / "comparison.png")
    write_report(folder / "comparison.html", f"Sweep {folder.name}", [table, picture])
    Console(highlight=False).print(f"comparison  {shown(folder.absolute() / 'comparison.html')}", soft_wrap=True)


def read_sweep(folder: Path) -> list[SweptRun]:
    """Every run folder under `folder`, in the order of the jobs (10 after 9)."""
    found = []
    for path in sorted(folder.rglob("hydra/overrides.yaml"), key=lambda path: (len(str(path)), path)):
        run, overrides = path.parents[1], parsed(yaml.safe_load(path.read_text()) or [])
        if (run / FAILED).is_file():
            found.append(SweptRun(run, overrides, None, (run / FAILED).read_text().strip()))
        elif not (run / RECORD).is_file():
            found.append(SweptRun(run, overrides, None, "it did not come to its end"))
        else:
            found.append(SweptRun(run, overrides, RunRecord.load(run)))
    return found


def parsed(overrides: Sequence[str]) -> dict[str, str]:
    """`["++data.val=100", "seed=1"]` -> {"data.val": "100", "seed": "1"}."""
    pairs = (with_new_name(override).partition("=") for override in overrides)
    return {key.lstrip("+"): value for key, _, value in pairs}


def arms_of(runs: Sequence[SweptRun]) -> list[Arm]:
    varying = varying_keys(runs)
    groups: dict[tuple[tuple[str, str], ...], list[SweptRun]] = {}
    for run in runs:
        if run.record is not None:
            groups.setdefault(tuple(sorted(settings_of(run).items())), []).append(run)
    arms = []
    labels = labels_of([settings_of(members[0]) for members in groups.values()], varying)
    for label, members in zip(labels, groups.values(), strict=True):
        overrides = settings_of(members[0])
        scored = [Scored(str(run.folder), run.record, run.record.scores) for run in members if run.record is not None]
        arms.append(Arm(label, overrides, sorted(scored, key=lambda run: run.record.seed)))
    return arms


def labels_of(arms: Sequence[dict[str, str]], varying: Sequence[str]) -> list[str]:
    """Long values cut off, where every arm's is still its own."""
    whole, cut = ([label(overrides, varying, most) for overrides in arms] for most in (None, LONGEST))
    return cut if len(set(cut)) == len(arms) else whole


def label(overrides: dict[str, str], varying: Sequence[str], most: int | None) -> str:
    shown = {key: overrides[key] for key in varying if key in overrides}
    if most is not None:
        shown = {key: value if len(value) <= most else value[: most - 1] + "…" for key, value in shown.items()}
    return " ".join(f"{key}={value}" for key, value in shown.items()) or "every run"


def varying_keys(runs: Sequence[SweptRun]) -> list[str]:
    keys = dict.fromkeys(key for run in runs for key in settings_of(run))
    return [key for key in keys if len({run.overrides.get(key) for run in runs}) > 1]


def settings_of(run: SweptRun) -> dict[str, str]:
    return {key: value for key, value in run.overrides.items() if key not in ("seed", "run_dir", "resume")}


def gain_of(arm: Arm, arms: Sequence[Arm]) -> Gain | None:
    """The gain over the lone mentee with the arm's settings, the mentor's apart; of several the one that shares most of them."""
    controls = [
        other for other in arms if other.lone and reaching_lone(other.overrides) == reaching_lone(arm.overrides)
    ]
    if arm.lone or not controls:
        return None
    control = max(controls, key=lambda other: len(other.overrides.items() & arm.overrides.items()))
    try:
        pairs = pairs_by_seed(arm.runs, control.runs)
    except UserError as error:
        return Gain(control.label, problem=str(error))
    found = differences(pairs)
    if any(run.record.mentor_scores != other.record.mentor_scores for run, other in pairs):
        found = {name: difference for name, difference in found.items() if name not in AGAINST_MENTOR}
    return Gain(control.label, found, apart=other_augmentation(arm.runs, control.runs))


def reaching_lone(overrides: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in overrides.items() if key.partition(".")[0] not in MENTOR_ONLY}


def comparison_table(runs: Sequence[SweptRun], arms: Sequence[Arm], gains: dict[str, Gain]) -> Table:
    rows = []
    for arm in arms:
        found = spreads([run.scores for run in arm.runs])
        val = [arm.val_accuracy.shown(plain("accuracy")) if arm.val_accuracy is not None else ""]
        cells = [found[name].shown(plain(name)) if name in found else "" for name in COLUMNS]
        gain = gains.get(arm.label)
        difference = [gain.found["accuracy"].shown(plain("accuracy")) if gain is not None and gain.found else ""]
        rows.append([arm.label, str(len(arm.runs)), *val, *cells, *difference])
    header = ["run", "n", "val %", *COLUMNS.values()]
    notes = [
        "mean ± std over n seeds, last step, test split where not said otherwise; choose by the validation accuracy"
    ]
    if gains:
        header.append("test − lone, points")
        controls = ", ".join(dict.fromkeys(gain.control for gain in gains.values()))
        notes.append(
            f"lone mentee: {controls}; points, paired by seed, in brackets the 95 % confidence interval (Student's t)"
        )
    notes += [f"{label}: {line}" for label, gain in gains.items() for line in (gain.problem, gain.apart) if line]
    same = [
        f"{key}={value}"
        for key, value in settings_of(runs[0]).items()
        if all(run.overrides.get(key) == value for run in runs)
    ]
    notes += [f"the same in every run: {' '.join(same)}"] if same else []
    failed = [run for run in runs if run.record is None]
    notes += [f"FAILED {overrides_of(run)} ({shown(run.folder.absolute())}): {run.failure}" for run in failed]
    return Table("Comparison", header, [row[: len(header)] for row in rows], notes)


def plain(score: str) -> Unit:
    return replace(unit_of(score), sign="")  # it stands in the column's head


def overrides_of(run: SweptRun) -> str:
    return " ".join(f"{key}={value}" for key, value in run.overrides.items())


def as_json(runs: Sequence[SweptRun], arms: Sequence[Arm], gains: dict[str, Gain]) -> dict[str, Any]:
    return {
        "arms": [
            {
                "label": arm.label,
                "overrides": arm.overrides,
                "lone": arm.lone,
                "runs": [
                    {"folder": run.name, "seed": run.record.seed, "val_accuracy": run.record.val_accuracy, **run.scores}
                    for run in arm.runs
                ],
                "val_accuracy": asdict(arm.val_accuracy) if arm.val_accuracy is not None else None,
                "mean": {name: asdict(found) for name, found in spreads([run.scores for run in arm.runs]).items()},
                "against": gain_json(gains.get(arm.label)),
            }
            for arm in arms
        ],
        "failed": [
            {"folder": str(run.folder), "overrides": run.overrides, "error": run.failure}
            for run in runs
            if run.record is None
        ],
    }


def gain_json(gain: Gain | None) -> dict[str, Any] | None:
    if gain is None:
        return None
    paired = {name: asdict(difference) for name, difference in gain.found.items()}
    return {
        "label": gain.control,
        "paired": paired,
        "problem": gain.problem or None,
        "augmentation": gain.apart or None,
    }


def main(arguments: Sequence[str]) -> int:
    as_usual()
    with quiet_when_unread():
        return answer(arguments)


def answer(arguments: Sequence[str]) -> int:
    parser = ArgumentParser("python -m distill.report.sweep", description="Compares all finished runs under a folder.")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="of a sweep, or of single runs side by side")
    folder: Path = parser.parse_args(arguments).folder
    try:
        runs = read_sweep(folder)
        if not any(run.record is not None for run in runs):
            raise UserError(f"{folder} holds no finished run ({len(runs)} unfinished); give the folder of a sweep")
        compare_sweep(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
