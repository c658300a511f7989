"""What `mentee-evaluate` does, prints and leaves. Axes: K classes."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from distill.command import shown
from distill.evaluate.cli import paths_of
from distill.evaluate.evaluation import Evaluation, evaluate, probe_cka, scores
from distill.evaluate.metrics import ECE_BINS
from distill.report.comparison import Difference, Scored, differences, pairs_by_seed, spreads, unit_of
from distill.report.figures import draw_confusions
from distill.report.page import Picture, Table, write_report
from distill.report.record import RunRecord
from distill.schema import EvaluateConfig
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor.restore import restore_mentor
from mentor_mentee.data.load import load_data, source_of
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError
from mentor_mentee.files import write_json
from mentor_mentee.objective.probes import Probe

PRINTED = 12  # classes up to which a confusion matrix is readable on a terminal


@dataclass(frozen=True)
class Judged:
    """A checkpoint and what was found of it on the split; without a mentor where its weights are gone."""

    path: Path
    mentee: Evaluation
    scores: dict[str, float]
    mentor: Evaluation | None


class Judge:
    """Evaluates checkpoints on one split, and each mentor that they share only once."""

    def __init__(self, splits: Splits, split: Split, batch: int, console: Console) -> None:
        self.classes = len(splits.classes)
        self.split = split
        self.batch = batch
        self.console = console
        self.mentors: dict[str, tuple[Mentor, Evaluation]] = {}

    def judge(self, path: Path, checkpoint: MenteeCheckpoint, probes: Sequence[Probe]) -> Judged:
        network, view = checkpoint.network(), checkpoint.view
        mentee = evaluate(lambda image: network(view(image)), self.split, self.classes, self.batch)
        asked = self.ask(checkpoint)
        if asked is None:
            return Judged(path, mentee, scores(mentee), None)
        mentor, seen = asked
        cka = probe_cka((network, view), (mentor.network, mentor.view), probes, self.split, self.batch)
        return Judged(path, mentee, scores(mentee, seen) | cka, seen)

    def ask(self, checkpoint: MenteeCheckpoint) -> tuple[Mentor, Evaluation] | None:
        about = checkpoint.mentor
        if about is None:
            return None
        if not Path(about["weights"]).is_file():
            self.console.print(
                f"the mentor's weights are no longer at {about['weights']}: the mentee alone", soft_wrap=True
            )
            return None
        key = json.dumps(about, sort_keys=True)
        if key not in self.mentors:
            mentor = restore_mentor(about, ())
            seen = evaluate(lambda image: mentor.answer(image).logits, self.split, self.classes, self.batch)
            self.mentors[key] = mentor, seen
        return self.mentors[key]


def run_command(config: EvaluateConfig) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    paths, against = paths_of(config.checkpoint), paths_of(config.against)
    checkpoints = {path: MenteeCheckpoint.load(path) for path in (*paths, *against)}
    if against:
        pairs_by_seed(scored(paths, {}), scored(against, {}))  # refused before anything is evaluated
    splits, split = the_split(checkpoints, config)
    judge = Judge(splits, split, config.batch, console)
    probes = {path: probes_for(checkpoint, checkpoints.values()) for path, checkpoint in checkpoints.items()}
    runs, controls = (
        [judge.judge(path, checkpoints[path], probes[path]) for path in side] for side in (paths, against)
    )
    found = {run.path: run.scores for run in (*runs, *controls)}
    paired = differences(pairs_by_seed(scored(paths, found), scored(against, found))) if against else {}
    title = f"{splits.name}, {config.split} split, {runs[0].mentee.samples} samples"
    confusion_KK = sum((run.mentee.confusion_KK for run in runs[1:]), runs[0].mentee.confusion_KK)
    mentors = [seen for _, seen in judge.mentors.values()]
    whose = "the mentee" if len(runs) == 1 else f"the {len(runs)} mentees, summed"
    tables = [scores_table(title, mentors, runs, controls, paired), per_class(confusion_KK, splits.classes, whose)]
    if len(splits.classes) <= PRINTED:
        tables.append(confusion_table(confusion_KK, splits.classes, whose))
    for table in tables:
        table.print(console)
    out = Path(config.out) if config.out else home(paths)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "evaluation.json", as_json(splits, config.split, runs, controls, paired, mentors))
    matrices = {"mentor": mentors[0].confusion_KK} if mentors else {}
    draw_confusions(matrices | {"mentee": confusion_KK}, splits.classes, out / "confusion.png")
    picture = Picture(f"Confusion on the {config.split} split", out / "confusion.png")
    write_report(out / "evaluation.html", f"Evaluation on {title}", [*tables, picture])
    Console(highlight=False).print(f"report  {shown(out / 'evaluation.html')}", soft_wrap=True)


def probes_for(checkpoint: MenteeCheckpoint, others: Iterable[MenteeCheckpoint]) -> Sequence[Probe]:
    """Its own; a lone mentee has none, and is compared at the layers of another of its network and mentor."""
    alike = (other for other in others if (other.recipe, other.mentor) == (checkpoint.recipe, checkpoint.mentor))
    return checkpoint.probes or next((other.probes for other in alike if other.probes), ())


def the_split(checkpoints: dict[Path, MenteeCheckpoint], config: EvaluateConfig) -> tuple[Splits, Split]:
    """The samples that all checkpoints are judged on. Raises `UserError` where their own data differ, or the classes."""
    found: dict[str, Splits] = {}
    first: tuple[Path, Splits, Split] | None = None
    for path, checkpoint in checkpoints.items():
        recipe = source_of(config.data or checkpoint.data)
        key = json.dumps(recipe, sort_keys=True, default=str)
        if key not in found:
            found[key] = load_data(recipe, whole=True)
        splits = found[key]
        if splits.classes != checkpoint.classes:
            raise UserError(
                f"the classes of {splits.name} are {splits.classes}, those of '{path}' {checkpoint.classes}; "
                "use data like the run's"
            )
        split = {"train": splits.train, "val": splits.val, "test": splits.test}[config.split]
        if first is not None and split.fingerprint() != first[2].fingerprint():
            raise UserError(
                f"the {config.split} splits of '{first[0]}' and '{path}' differ; expected one for all: name it with data=…"
            )
        first = first or (path, splits, split)
    assert first is not None
    return first[1], first[2]


def home(paths: Sequence[Path]) -> Path:
    """Of one checkpoint its folder; of several the folder that they lie under."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def scored(paths: Sequence[Path], found: Mapping[Path, Mapping[str, float]]) -> list[Scored]:
    return [Scored(str(path), RunRecord.load(path.parent), found.get(path, {})) for path in paths]


def scores_table(
    title: str,
    mentors: Sequence[Evaluation],
    runs: Sequence[Judged],
    controls: Sequence[Judged],
    paired: dict[str, Difference],
) -> Table:
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


def as_json(
    splits: Splits,
    split: str,
    runs: Sequence[Judged],
    controls: Sequence[Judged],
    paired: dict[str, Difference],
    mentors: Sequence[Evaluation],
) -> dict[str, Any]:
    def described(run: Judged) -> dict[str, Any]:
        return {"checkpoint": str(run.path), "scores": run.scores, "confusion": run.mentee.confusion_KK.tolist()}

    def summary(side: Sequence[Judged]) -> dict[str, Any]:
        return {name: asdict(found) for name, found in spreads([run.scores for run in side]).items()}

    return {
        "data": splits.name,
        "split": split,
        "samples": runs[0].mentee.samples,
        "classes": list(splits.classes),
        "mentors": [{"scores": scores(seen), "confusion": seen.confusion_KK.tolist()} for seen in mentors],
        "runs": [described(run) for run in runs],
        "mean": summary(runs),
        "against": [described(run) for run in controls],
        "against_mean": summary(controls),
        "paired": {name: asdict(found) for name, found in paired.items()},
    }
