"""Decides whether a run asks its mentor anew at each step or caches the answers."""

import math
from pathlib import Path

from distill.machine import Machine
from distill.schema import DistillConfig
from distill.training.loaders import epoch_batches
from mentor.cache import AnswerCache, answer_bytes
from mentor.mentor import Mentor
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError


def answer_caches(config: DistillConfig, mentor: Mentor, splits: Splits, machine: Machine) -> dict[str, AnswerCache]:
    """The caches that the run uses, by "train" and "val". `cache_answers` null caches a split where that asks the mentor no
    more often than the steps would, and it fits `answer_cache_mb`. A function of the configuration alone, so a resumed run
    decides as before.

    Raises `UserError` where `cache_answers=true` cannot be: each pass has a new view, or memory does not suffice.
    """
    how, fit = config.trainer.augment, config.trainer
    batches = epoch_batches(splits.train, fit, config.seed)
    steps = fit.max_epochs * len(batches)
    # a few labelled samples among many others pass often, and a view is cached of the whole split
    passes = max(pool.passes(steps * pool.per_batch) for pool in batches.pools)
    endless = how.active() and how.views is None
    views = min(how.views or 1, passes) if how.active() else 1
    require_cacheable(config)
    wanted = {
        "train": not endless and (config.cache_answers or steps * fit.batch >= views * len(splits.train)),
        "val": config.cache_answers or fit.max_epochs > 1,
    }
    caches: dict[str, AnswerCache] = {}
    megabytes = 0.0
    for part, split, count in (("val", splits.val, 1), ("train", splits.train, views)):
        needed = answer_bytes(mentor, split, count) / 2**20
        fits = megabytes + needed <= config.answer_cache_mb
        if config.cache_answers and not fits:
            raise UserError(
                f"cache_answers=true needs {needed:.0f} MB for the {part} split ({count} views of {len(split)} samples), of "
                f"answer_cache_mb={config.answer_cache_mb}; raise that, probe smaller layers or take fewer views"
            )
        if not wanted[part] or config.cache_answers is False:
            continue
        if fits:
            megabytes += needed
            caches[part] = cache(config, mentor, split, machine, part)
        else:
            machine.say(not_cached(part, len(split), count, needed, megabytes, config.answer_cache_mb))
    return caches


def not_cached(part: str, samples: int, views: int, needed: float, taken: float, limit: int) -> str:
    """The consequence of a limit that is too small: the same numbers, later."""
    when = "at each step" if part == "train" else "in each epoch"
    of_views = f" in {views} views" if views > 1 else ""
    return (
        f"the mentor's answers to {samples:,} samples of the {part} split{of_views} take {needed:,.0f} MB and are not cached "
        f"({limit - taken:,.0f} of answer_cache_mb={limit} are left): the mentor is asked again {when}, which is slower and, but "
        f"for rounding, gives the same; answer_cache_mb={math.ceil(taken + needed)} caches them"
    )


def require_cacheable(config: DistillConfig) -> None:
    how = config.trainer.augment
    if config.cache_answers and how.active() and how.views is None:
        raise UserError(
            "cache_answers=true, but trainer.augment makes a new view at each pass, to which no answer can be cached; set "
            "trainer.augment.views=8, or another number of views"
        )


def cache(config: DistillConfig, mentor: Mentor, split: Split, machine: Machine, part: str) -> AnswerCache:
    how = config.trainer.augment if part == "train" else Augmentation()
    folder = Path(config.cache_dir) / "answers"
    return AnswerCache(mentor, split, how, folder, machine.say)
