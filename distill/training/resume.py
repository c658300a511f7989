"""Checks that a Lightning checkpoint may go on under today's settings."""

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from distill.schema import FitConfig
from distill.training.differing import NAMED, differing
from distill.training.module import Distillation
from mentor.precisions import FULL, PRECISIONS
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.augmentation import own_code, recorded
from mentor_mentee.errors import UserError

SOURCE = ", of source "  # between a network's recipe and the identity of its code
PRECISION = "mentor.precision"  # the one that was found, under auto
FREE = ("max_epochs", "workers", "log_every_n_steps")  # settings of a training that may change when it goes on
# of a checkpoint that was written before there were all of today's settings
BEFORE = {f"trainer.{name}": str(value) for name, value in asdict(FitConfig()).items()} | {"callbacks": "{}"}


@dataclass(frozen=True)
class Content:
    """The contents of a checkpoint beside the weights."""

    epochs: int  # that are done
    stopped: bool  # a callback ended the training there
    callbacks: Mapping[str, Any]  # their states, by their keys

    def finished(self, epochs: int) -> bool:
        return self.stopped or self.epochs >= epochs

    def restore(self, callbacks: Iterable[pl.Callback]) -> None:
        for callback in callbacks:
            if callback.state_key in self.callbacks:
                callback.load_state_dict(self.callbacks[callback.state_key])


def describe_run(module: Distillation, splits: Splits) -> dict[str, str]:
    """All that the steps depend on besides the weights; a run that is resumed under another would mix two runs.

    More epochs are no other run: the schedule and the learning rate then stretch over all of them.
    """
    settings = asdict(module.fit_config)
    settings["augment"] = recorded(settings["augment"])
    trainer = {f"trainer.{name}": str(value) for name, value in settings.items() if name not in FREE}
    trainer["trainer.augment"] += "".join(
        f", own code {digest[:12]}" for digest in own_code(module.fit_config.augment.transforms)
    )
    return {
        "data": splits.train.fingerprint(),
        "mentee.network": module.recipe,
        "mentee.view": str(module.view),
        "schedule": str(module.schedule.over_any()),
        "loss": str(module.loss),
        "seed": str(module.seed),
        "probes": str(module.student.probes),
        "mentor": "none" if module.mentor is None else module.mentor.fingerprint(),
        PRECISION: FULL if module.mentor is None else module.mentor.precision,
        "callbacks": module.callbacks_recipe,
        **trainer,
    }


def earlier(checkpoint: Path) -> Path:
    """The checkpoint of the epoch before, which lies beside `checkpoint` while a run goes on."""
    return checkpoint.with_suffix(".before.ckpt")


def keep_earlier(checkpoint: Path, own: bool) -> None:
    """Gives the checkpoint that is about to be replaced its second name; killed at any instant, one of both is whole. One that is
    not this run's `own` goes."""
    earlier(checkpoint).unlink(missing_ok=True)
    if not own or not checkpoint.is_file():
        return
    try:
        os.link(checkpoint, earlier(checkpoint))
    except OSError:  # a file system without links
        shutil.copyfile(checkpoint, earlier(checkpoint))


def undamaged(checkpoint: Path, say: Callable[[str], None]) -> Path:
    """`checkpoint`, or where that is damaged the one of the epoch before, which is said. Raises `UserError` where both are."""
    why = damage(checkpoint)
    if why is None:
        return checkpoint
    before = earlier(checkpoint)
    if before.is_file() and damage(before) is None:
        say(f"'{checkpoint}' is damaged ({why}): resumed from '{before.name}' beside it, one epoch earlier")
        return before
    raise UserError(f"'{checkpoint}' cannot be resumed: it is damaged ({why}); start again without resume=true")


def damage(checkpoint: Path) -> str | None:
    """The fault in its bytes, None where there is none: by the CRC-32 that torch writes for each part and does not look at
    again, and by torch, which reads headers that `zipfile` passes over."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            altered = archive.testzip()
        if altered is None:
            torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # an altered pickle raises whatever it happens to run into
        return " ".join(str(error).split())[:300] or type(error).__name__
    return f"the sum of {altered!r} in it does not match" if altered else None


def precision_before(checkpoint: Path) -> str:
    """Precision in which the mentor of this run answered until now. Raises `UserError` for a checkpoint that cannot say it."""
    try:
        content = torch.load(undamaged(checkpoint, lambda line: None), map_location="cpu", weights_only=True)
        found = str(content["run"].get(PRECISION, FULL))
    except UserError:
        raise
    except Exception as error:
        raise not_resumable(checkpoint, error) from None
    if found not in PRECISIONS:
        raise not_resumable(checkpoint, ValueError(f"its mentor answered in {found!r}"))
    return found


def check_resumable(checkpoint: Path, module: Distillation) -> Content:
    """Leaves `module` with its weights. Raises `UserError` unless it is of this network and of a run under the same settings."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        done, was = content["epoch"] + 1 - int(content.get("appended", 0)), BEFORE | dict(content["run"])
        about = Content(done, bool(content.get("stopped")), dict(content["callbacks"]))
    except Exception as error:  # an altered pickle raises whatever it happens to run into
        raise not_resumable(checkpoint, error) from None
    if done > module.fit_config.max_epochs:
        raise UserError(
            f"'{checkpoint}' has done {done} epochs, more than trainer.max_epochs={module.fit_config.max_epochs}; "
            f"expected at least {done} to resume it"
        )
    for name, value in module.run.items():
        if (before := str(was.get(name))) == value or (name == "mentor" and not module.schedule.supervised()):
            continue  # a run that listens to no mentor is the same with any
        if name == PRECISION and (name not in was or not module.schedule.supervised()):
            continue  # a checkpoint of before: the mentor's fingerprint has it
        (recipe, old), (same, new) = (text.partition(SOURCE)[::2] for text in (before, value))
        if recipe == same:
            raise UserError(
                f"'{checkpoint}' is of a run with {name} = {recipe}, this one has the same, but its source code was changed "
                f"since ({old}, now {new}); start again without resume=true, or resume it with the code it began with"
            )
        found = differing(recipe, same, name)
        each = "; ".join(f"{one} = {shown(old)}, this one has {shown(new)}" for one, old, new in found[:NAMED])
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise UserError(
            f"'{checkpoint}' is of a run with {each}{more}; resume it with the settings it began with, or start again without "
            "resume=true"
        )
    try:
        module.load_state_dict(content["state_dict"])
    except Exception as error:
        raise not_resumable(checkpoint, error) from None
    return about


def not_resumable(checkpoint: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return UserError(
        f"'{checkpoint}' cannot be resumed: it is damaged or of another network ({reason}); "
        "give the configuration of the run that it is of, or start again without resume=true"
    )


def shown(value: str) -> str:
    """The value with fingerprints, 64 hex digits, cut to the first twelve."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"fingerprint \1…", value)
