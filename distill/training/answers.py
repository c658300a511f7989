"""Whether a run asks its mentor anew at each step or keeps its answers."""

from pathlib import Path

from distill.schema import DistillConfig
from distill.training.fit import Machine, epoch_batches
from mentor.cache import AnswerCache, answer_bytes
from mentor.mentor import Mentor
from mentor_mentee.data.augmentation import Augmentation
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.errors import UserError


def kept_answers(config: DistillConfig, mentor: Mentor, splits: Splits, machine: Machine) -> dict[str, AnswerCache]:
    """By "train" and "val", the caches that the run uses. `keep_answers` null keeps what takes no more asking that way than
    at each step, and fits `keep_answers_mb`. A function of the configuration alone, so a resumed run decides as before.

    Raises `UserError` where `keep_answers=true` cannot be: each pass has a new view, or memory does not suffice.
    """
    how, fit = config.trainer.augment, config.trainer
    batches = epoch_batches(splits.train, fit, config.seed)
    steps = fit.epochs * len(batches)
    # a few labelled samples among many others pass often, and a view is kept of the whole split
    passes = max(pool.passes(steps * pool.per_batch) for pool in batches.pools)
    endless = how.active() and how.views is None
    views = min(how.views or 1, passes) if how.active() else 1
    require_keepable(config)
    wanted = {
        "train": not endless and (config.keep_answers or steps * fit.batch >= views * len(splits.train)),
        "val": config.keep_answers or fit.epochs > 1,
    }
    kept: dict[str, AnswerCache] = {}
    megabytes = 0.0
    for part, split, count in (("val", splits.val, 1), ("train", splits.train, views)):
        needed = answer_bytes(mentor, split, count) / 2**20
        fits = megabytes + needed <= config.keep_answers_mb
        if config.keep_answers and not fits:
            raise UserError(
                f"keep_answers=true needs {needed:.0f} MB for the {part} split ({count} views of {len(split)} samples), of "
                f"keep_answers_mb={config.keep_answers_mb}; raise that, probe smaller layers or take fewer views"
            )
        if wanted[part] and fits and config.keep_answers is not False:
            megabytes += needed
            kept[part] = cache(config, mentor, split, machine, part)
    return kept


def require_keepable(config: DistillConfig) -> None:
    how = config.trainer.augment
    if config.keep_answers and how.active() and how.views is None:
        raise UserError(
            "keep_answers=true, but trainer.augment makes a new view at each pass, to which no answer can be kept; set "
            "trainer.augment.views=8, or another number of views"
        )


def cache(config: DistillConfig, mentor: Mentor, split: Split, machine: Machine, part: str) -> AnswerCache:
    how = config.trainer.augment if part == "train" else Augmentation()
    folder = Path(config.cache_dir) / "answers"
    return AnswerCache(mentor, split, how, folder, lambda line: machine.console.print(line, highlight=False))
