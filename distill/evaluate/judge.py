"""Judges finished mentees and their mentors on one split."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from distill.evaluate.check import paths_of
from distill.evaluate.evaluation import Evaluation, evaluate, judged, probe_cka, scores
from distill.report.comparison import Difference, Scored, differences, other_augmentation, pairs_by_seed
from distill.report.record import RunRecord
from distill.schema import EvaluateConfig
from mentee.checkpoint import MenteeCheckpoint
from mentor.cache.answers import cached_logits
from mentor.mentor import Mentor
from mentor.restore import restore_mentor
from mentor_mentee.data.load import load_data, source_of
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError
from mentor_mentee.objective.probes import Probe


@dataclass(frozen=True)
class Judged:
    """A checkpoint and what was found of it on the split; without a mentor where its weights are gone."""

    path: Path
    mentee: Evaluation
    scores: dict[str, float]
    mentor: Evaluation | None


class Judge:
    """Evaluates checkpoints on one split, and each mentor that they share only once."""

    def __init__(self, splits: Splits, split: Split, batch: int, console: Console, answers: Path | None) -> None:
        """`answers`: folder of cached ones."""
        self.classes = len(splits.classes)
        self.split = split
        self.batch = batch
        self.console = console
        self.answers = answers
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
            seen = judged(cached_logits(mentor, self.split, self.answers), self.split, self.classes)
            self.mentors[key] = mentor, seen
        return self.mentors[key]


@dataclass(frozen=True)
class Findings:
    """The results of an evaluation, not printed or written yet."""

    splits: Splits
    split: str
    runs: list[Judged]
    controls: list[Judged]  # those they are compared with
    paired: dict[str, Difference]  # by score
    mentors: list[Evaluation]
    apart: str = ""  # how the augmentation of both sides differs


def evaluate_checkpoints(config: EvaluateConfig, console: Console | None = None) -> Findings:
    """Evaluates `config.checkpoint`, and pairs it by seed with `config.against` where that is given. Raises `UserError` for
    a checkpoint that cannot be read, for runs that are no pairs, and for checkpoints of different data."""
    console = console or Console(stderr=True)
    paths, against = paths_of(config.checkpoint), paths_of(config.against)
    checkpoints = under_one_mentor({path: MenteeCheckpoint.load(path) for path in (*paths, *against)})
    if against:
        pairs_by_seed(scored(paths, {}), scored(against, {}))  # refused before anything is evaluated
    splits, split = the_split(checkpoints, config)
    answers = Path(config.cache_dir) / "answers"
    judge = Judge(splits, split, config.batch, console, answers if answers.is_dir() else None)
    probes = {path: probes_for(checkpoint, checkpoints.values()) for path, checkpoint in checkpoints.items()}
    runs, controls = (
        [judge.judge(path, checkpoints[path], probes[path]) for path in side] for side in (paths, against)
    )
    found = {run.path: run.scores for run in (*runs, *controls)}
    sides = [scored(side, found) for side in (paths, against)] if against else []
    paired = differences(pairs_by_seed(*sides)) if sides else {}
    mentors = [seen for _, seen in judge.mentors.values()]
    apart = other_augmentation(*sides) if sides else ""
    return Findings(splits, config.split, runs, controls, paired, mentors, apart)


def under_one_mentor(checkpoints: dict[Path, MenteeCheckpoint]) -> dict[Path, MenteeCheckpoint]:
    """Lone mentees, whose runs had no mentor, are compared with that of the others, where it is one."""
    mentors = {
        json.dumps(one.mentor, sort_keys=True): one.mentor for one in checkpoints.values() if one.mentor is not None
    }
    if len(mentors) != 1:
        return checkpoints
    (mentor,) = mentors.values()
    return {path: replace(one, mentor=one.mentor or mentor) for path, one in checkpoints.items()}


def probes_for(checkpoint: MenteeCheckpoint, others: Iterable[MenteeCheckpoint]) -> Sequence[Probe]:
    """The checkpoint's own probes; a lone mentee has none and takes those of another with its network and mentor."""
    alike = (other for other in others if (other.recipe, other.mentor) == (checkpoint.recipe, checkpoint.mentor))
    return checkpoint.probes or next((other.probes for other in alike if other.probes), ())


def the_split(checkpoints: dict[Path, MenteeCheckpoint], config: EvaluateConfig) -> tuple[Splits, Split]:
    """The samples that all checkpoints are judged on. Raises `UserError` where their own data differ, or the classes."""
    found: dict[str, Splits] = {}
    first: tuple[Path, Splits, Split] | None = None
    for path, checkpoint in checkpoints.items():
        if not (config.data or checkpoint.data):
            raise UserError(
                f"'{path}' names no data, for it was trained on a DataLoader of a script; name a function that returns its data "
                "sets: data=own data._target_=my_data.my_sets"
            )
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


def scored(paths: Sequence[Path], found: Mapping[Path, Mapping[str, float]]) -> list[Scored]:
    return [Scored(str(path), RunRecord.load(path.parent), found.get(path, {})) for path in paths]
