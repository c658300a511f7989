"""Prints what `mentee-evaluate` found, and writes its report. Axes: K classes."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from distill.evaluate.check import paths_of
from distill.evaluate.evaluation import scores
from distill.evaluate.judge import Findings, Judged, evaluate_checkpoints
from distill.evaluate.metrics import ECE_BINS
from distill.report.comparison import spreads, unit_of
from distill.report.figures import draw_confusions
from distill.report.page import Picture, Table, shown, write_report
from distill.schema import EvaluateConfig
from mentor_mentee.files import write_json
from mentor_mentee.progress import reporting

PRINTED = 12  # classes up to which a confusion matrix is readable on a terminal


def run_command(config: EvaluateConfig) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    with reporting(lambda line: print(line, file=sys.stderr)):
        found = evaluate_checkpoints(config, console)
    title = f"{found.splits.name}, {config.split} split, {found.runs[0].mentee.samples} samples"
    confusion_KK = sum((run.mentee.confusion_KK for run in found.runs[1:]), found.runs[0].mentee.confusion_KK)
    classes = found.splits.classes
    whose = "the mentee" if len(found.runs) == 1 else f"the {len(found.runs)} mentees, summed"
    tables = [scores_table(title, found), per_class(confusion_KK, classes, whose)]
    if len(classes) <= PRINTED:
        tables.append(confusion_table(confusion_KK, classes, whose))
    for table in tables:
        table.print(console)
    out = Path(config.out) if config.out else home(paths_of(config.checkpoint))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "evaluation.json", as_json(found))
    matrices = {"mentor": found.mentors[0].confusion_KK} if found.mentors else {}
    draw_confusions(matrices | {"mentee": confusion_KK}, classes, out / "confusion.png")
    picture = Picture(f"Confusion on the {config.split} split", out / "confusion.png")
    write_report(out / "evaluation.html", f"Evaluation on {title}", [*tables, picture])
    Console(highlight=False).print(f"report  {shown(out / 'evaluation.html')}", soft_wrap=True)


def home(paths: Sequence[Path]) -> Path:
    """The folder of one checkpoint, or the folder that several lie under."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def scores_table(title: str, found: Findings) -> Table:
    mentors, runs, controls, paired = found.mentors, found.runs, found.controls, found.paired
    columns = [
        spreads([scores(seen) for seen in mentors]),
        *(spreads([one.scores for one in side]) for side in (runs, controls)),
    ]
    rows = []
    for name in columns[1]:
        unit = unit_of(name)
        cells = [column[name].shown(unit) if name in column else "" for column in columns]
        rows.append([unit.title, *cells, paired[name].shown(unit) if name in paired else ""])
    header = ["", "mentor", "mentee", "compared with", "difference"]
    width = len(header) if controls else 3
    notes = [f"mean ± std over {len(runs)} runs"] if len(runs) > 1 else []
    notes.append(f"ECE: expected calibration error, {ECE_BINS} bins")
    if mentors:
        notes.append("with the mentor: agreement of answers, KL(mentor ‖ mentee) at T = 1, debiased CKA at each probe")
    if paired:
        n = next(iter(paired.values())).n
        notes.append(f"difference: paired by seed, n = {n}, in brackets the 95 % confidence interval (Student's t)")
    if found.apart:
        notes.append(found.apart)
    return Table(title, header[:width], [row[:width] for row in rows], notes)


def per_class(confusion_KK: Tensor, classes: tuple[str, ...], whose: str) -> Table:
    """Recall of each class, and what its samples were most often taken for."""
    rows = []
    for label, name in enumerate(classes):
        counts = confusion_KK[label]
        wrong = counts.clone()
        wrong[label] = 0
        taken = f"{classes[int(wrong.argmax())]} ({int(wrong.max())})" if int(wrong.max()) else ""
        total = int(counts.sum())
        rows.append([name, str(total), f"{int(counts[label]) / total:.1%}" if total else "", taken])
    return Table(f"By class: {whose}", ["class", "samples", "right", "most often taken for"], rows)


def confusion_table(confusion_KK: Tensor, classes: tuple[str, ...], whose: str) -> Table:
    counts: list[list[int]] = confusion_KK.tolist()
    rows = [[name, *(str(n) if n else "·" for n in row)] for name, row in zip(classes, counts, strict=True)]
    return Table(f"Confusion: {whose}", ["true, taken for", *classes], rows)


def as_json(found: Findings) -> dict[str, Any]:
    def described(run: Judged) -> dict[str, Any]:
        return {"checkpoint": str(run.path), "scores": run.scores, "confusion": run.mentee.confusion_KK.tolist()}

    def summary(side: Sequence[Judged]) -> dict[str, Any]:
        return {name: asdict(spread) for name, spread in spreads([run.scores for run in side]).items()}

    return {
        "data": found.splits.name,
        "split": found.split,
        "samples": found.runs[0].mentee.samples,
        "classes": list(found.splits.classes),
        "mentors": [{"scores": scores(seen), "confusion": seen.confusion_KK.tolist()} for seen in found.mentors],
        "runs": [described(run) for run in found.runs],
        "mean": summary(found.runs),
        "against": [described(run) for run in found.controls],
        "against_mean": summary(found.controls),
        "paired": {name: asdict(difference) for name, difference in found.paired.items()},
    }
