"""Decides whether a run asks its mentor anew at each step or caches the answers."""

from pathlib import Path

from distill.machine import Machine
from distill.schema import CacheConfig, DistillConfig
from distill.training.loaders import epoch_batches
from mentor.cache import AnswerCache, CacheOptions
from mentor.cache.room import lacking_room
from mentor.mentor import Mentor
from mentor_mentee.data.splits import Split, Splits
from mentor_mentee.data.views.augmentation import Augmentation
from mentor_mentee.errors import UserError

GB = 1e9


def answer_caches(config: DistillConfig, mentor: Mentor, splits: Splits, machine: Machine) -> dict[str, AnswerCache]:
    """The caches that the run uses, by "train" and "val". `cache.answers` null caches a split where that asks the mentor no
    more often than the steps would, and where there is room. A cached answer and an asked one are the same numbers but for how
    they are packed.

    Raises `UserError` where `cache.answers=true` cannot be: each pass has a new view, samples are mixed, or there is no room.
    """
    how, fit = config.trainer.augment, config.trainer
    batches = epoch_batches(splits.train, fit, config.seed)
    steps = fit.max_epochs * len(batches)
    # a few labelled samples among many others pass often, and a view is cached of the whole split
    passes = max(pool.passes(steps * pool.per_batch) for pool in batches.pools)
    endless = how.active() and how.views is None
    views = min(how.views or 1, passes) if how.active() else 1
    require_cacheable(config)
    mixes = how.mix.active()
    if mixes:
        machine.say(
            "trainer.augment.mix: the mentor is asked about each mixed sample, of which no answer can be cached"
        )
    wanted = {
        "train": not (endless or mixes) and (config.cache.answers or steps * fit.batch >= views * len(splits.train)),
        "val": config.cache.answers or fit.max_epochs > 1,
    }
    caches: dict[str, AnswerCache] = {}
    for part, split, count in (("val", splits.val, 1), ("train", splits.train, views)):
        if not wanted[part] or config.cache.answers is False:
            continue
        made = cache(config, mentor, split, part)
        problem = without_room(
            made, count, [path for one in caches.values() for path in one.paths(views)], config.cache
        )
        if problem is None:
            caches[part] = made
            continue
        of_views = f" in {count} views" if count > 1 else ""
        size = made.bytes(count) / GB
        about = f"the mentor's answers to {len(split):,} samples of the {part} split{of_views} take {size:.3g} GB"
        if config.cache.answers:
            raise UserError(f"{about}: {problem}; cache.answers=false asks at each step")
        when = "at each step" if part == "train" else "in each epoch"
        machine.say(
            f"{about} and are not cached: {problem}. The mentor is asked again {when}, which is slower and gives the same, but "
            f"for the rounding of cached ones (cache.activations={config.cache.activations})"
        )
    return caches


def without_room(made: AnswerCache, views: int, used: list[Path], config: CacheConfig) -> str | None:
    """Makes the files of a cache beside those that are `used`, or says why not."""
    folder, needed = made.folder, made.bytes(views)
    assert folder is not None
    limit = config.max_gb * GB
    if needed > limit:
        return f"cache.max_gb={config.max_gb:g} is less; raise it, probe smaller layers or take fewer views"
    try:
        beside = sum(path.stat().st_size for path in used if path.is_file())
        lacking = lacking_room(folder, [*made.paths(views), *used], needed + beside, limit)
        if lacking:
            return (
                f"{lacking / GB:.3g} GB too much for {folder} (cache.max_gb={config.max_gb:g}, and what is free there)"
            )
        made.reserve(views)
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror or error})"
    return None


def require_cacheable(config: DistillConfig) -> None:
    how = config.trainer.augment
    if config.cache.answers and how.mix.active():
        raise UserError(
            "cache.answers=true, but trainer.augment.mix mixes samples anew at each step, to which no answer can be cached; "
            "leave cache.answers or trainer.augment.mix out"
        )
    if config.cache.answers and how.active() and how.views is None:
        raise UserError(
            "cache.answers=true, but trainer.augment makes a new view at each pass, to which no answer can be cached; set "
            "trainer.augment.views=8, or another number of views"
        )


def cache(config: DistillConfig, mentor: Mentor, split: Split, part: str) -> AnswerCache:
    how = config.trainer.augment if part == "train" else Augmentation()
    options = CacheOptions(config.cache.activations, config.cache.verify)
    return AnswerCache(mentor, split, how, Path(config.cache_dir) / "answers", options)
