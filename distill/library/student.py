"""The LightningModule of the commands under a Trainer and a DataLoader of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from distill.curves import Schedule
from distill.handover import last_knobs, run_facts
from distill.library.caching import Caching
from distill.library.looking import untouched_random_state
from distill.library.reading import Reader
from distill.schema import FitConfig
from distill.training.callbacks.history import History
from distill.training.module import Distillation
from mentee.checkpoint import MenteeCheckpoint
from mentor.mentor import Mentor
from mentor_mentee.data.batches import Drawn, EpochBatches
from mentor_mentee.data.splits import Batch
from mentor_mentee.errors import UserError
from mentor_mentee.objective.knobs import Knobs
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import ProbedMentee
from mentor_mentee.recipe import Recipe

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # the loss and the mentor are float32 in all of them


@dataclass(frozen=True)
class Origin:
    """Origin of a mentee, for its checkpoint: what training itself does not need to know."""

    recipe: Recipe  # of the mentee's network
    classes: tuple[str, ...]
    mentor_name: str
    mentor: Mapping[str, Any] | None = None  # as `mentor.restore` takes it; None: in memory only
    data: Recipe = field(default_factory=dict)  # empty: a loader that nobody can make again


class Student(Distillation):
    """`pl.Trainer(max_epochs=5).fit(student, train_loader, val_loader)`, then `student.checkpoint()`.

    Made by `distill.distillation`. The Trainer's options are the Trainer's: epochs, precision, devices, clipping, accumulation,
    callbacks. `val_accuracy`, `val_loss`, … are logged, for callbacks to monitor; `history` has a row an epoch.
    """

    def __init__(
        self,
        student: ProbedMentee,
        reader: Reader,
        schedule: Schedule,
        fit: FitConfig,
        seed: int,
        mentor: Mentor,
        loss: LossSpec,
        origin: Origin,
        caching: Caching | None = None,
    ) -> None:
        super().__init__(student, reader.view, schedule, fit, seed, mentor, loss)
        self.reader, self.origin, self.caching = reader, origin, caching
        self.open_schedule, self.asked_fit = schedule, fit  # before a Trainer says over how many steps
        self.settings = "fit"
        self.recorded, self.taken = History(), 0

    @property
    def history(self) -> list[dict[str, float]]:
        """A row an epoch: the terms of the loss, accuracies, knobs, learning rate, milliseconds of a step."""
        return self.recorded.rows

    def configure_callbacks(self) -> list[pl.Callback]:
        return [self.recorded]

    def setup(self, stage: str) -> None:
        """Takes over what the Trainer says. Raises `UserError` for a precision that the loss is not proved in."""
        trainer = self.trainer
        precision = str(trainer.precision)
        if precision not in PRECISIONS:
            raise UserError(
                f"pl.Trainer(precision={precision!r}); expected {', '.join(PRECISIONS)}: the loss and the mentor are float32"
            )
        if stage != "fit":
            return
        self.recorded.rows.clear()
        self.fit_config = replace(
            self.asked_fit,
            max_epochs=max(1, trainer.max_epochs or 1),
            precision=precision,
            gradient_clip_val=None if trainer.gradient_clip_val is None else float(trainer.gradient_clip_val),
            accumulate_grad_batches=trainer.accumulate_grad_batches,
        )
        self.run = described_run(self, precision)

    def configure_optimizers(self) -> Any:
        steps = self.trainer.estimated_stepping_batches
        if steps == 0:
            raise UserError(
                "the run has no step: the loader yields no batch (drop_last with fewer samples than a batch?), or "
                "limit_train_batches=0 or max_steps=0; expected one or more"
            )
        if not 0 < steps < float("inf"):
            raise UserError(
                "the run has no end that the schedule and the learning rate could run over: the loader has no length, or "
                "max_epochs=-1; give pl.Trainer(max_steps=1000), or limit_train_batches=100 and max_epochs"
            )
        self.schedule = self.open_schedule.over(int(steps), passes(self.trainer))
        return super().configure_optimizers()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        training = bool(self.trainer.training)
        where, kind = ("a training batch", "train") if training else ("a validation batch", "val")
        name = kind if training else validation(dataloader_idx)
        self.caches.pop(kind, None)
        if self.caching is not None and name in self.caching.caches:
            self.caches[kind] = self.caching.caches[name]
        if isinstance(batch, Drawn) and not (self.caching is not None and name in self.caching.known):
            return batch
        image_BCHW, label_B = self.reader(batch, where)
        index_B = torch.full_like(label_B, -1)  # where the sample stands in its data set: only a cache asks
        if self.caching is not None and kind in self.caches:
            index_B = self.caching.index(name, batch, image_BCHW, where)
        if training:
            return Drawn(index_B, image_BCHW, label_B, torch.zeros_like(label_B))
        return Batch(index_B, image_BCHW, label_B)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Lightning says which of several loaders a batch is of."""
        return super().validation_step(batch, batch_idx)

    def on_train_start(self) -> None:
        """Another data set than `distillation` was given has answers of its own."""
        if self.caching is not None:
            self.caching.of(self.trainer.train_dataloader, "train", "train")
        begin_at_its_epoch(self.trainer)

    def on_validation_start(self) -> None:
        """Caches the answers to validation samples too, where they can be; else says why not."""
        if self.caching is None:
            return
        for number, loader in enumerate(several(self.trainer.val_dataloaders)):
            try:
                self.caching.of(loader, validation(number), "val" if number == 0 else f"val loader {number + 1}")
            except UserError as error:
                self.caching.machine.say(f"the mentor is asked about validation samples in each epoch, for {error}")

    def last_knobs(self) -> Knobs:
        """Those of the run's end under `trainer.validate`, which knows no steps."""
        return super().last_knobs() if self.trainer.state.fn == "fit" else self.schedule.at(1)

    def on_fit_end(self) -> None:
        self.taken = self.global_step
        self.student.to(memory_format=torch.contiguous_format)  # as the exported network is read from its file
        if self.mentor is not None:
            self.mentor.to(torch.device("cpu"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises `UserError` where a Lightning checkpoint (`ckpt_path`) is of a run under other settings, as its precision."""
        was = checkpoint.get("run") or {}
        for name, value in self.run.items():
            if was.get(name, value) != value:
                raise UserError(
                    f"the checkpoint is of a run with {name} {was[name]!r:.200}, and this one has {value!r:.200}; give the same, "
                    "or fit without ckpt_path"
                )

    def checkpoint(self, shown: str = "last step") -> MenteeCheckpoint:
        """The mentee as it is now, for `export.export_bundle`, `save` and `save_pretrained`.

        `shown`: whose weights these are, where you have loaded others than the last step's.
        """
        val = self.history[-1].get("val_accuracy") if self.history and shown == "last step" else None
        samples = self.recorded.validated
        return MenteeCheckpoint(
            recipe=self.origin.recipe,
            state={name: value.detach().cpu().clone() for name, value in self.student.mentee.state_dict().items()},
            head=str(self.student.head),
            view=self.view,
            classes=self.origin.classes,
            probes=tuple(self.student.learned_probes()),
            mentor=self.origin.mentor,
            data=self.origin.data,
            accuracy={} if val is None else {"val": {"accuracy": val, "samples": samples}},
            loss=self.loss,
            knobs=last_knobs(self.schedule),
            shown=shown,
            run=run_facts(
                self.schedule,
                parameters=sum(value.numel() for value in self.student.mentee.parameters()),
                seed=self.seed,
                mentor=self.origin.mentor_name,
                **({"steps": self.taken} if self.taken else {}),
            ),
        )


def validation(number: int) -> str:
    """The name of a validation loader; metrics of the second are `val_accuracy_2`, …"""
    return "val" if number == 0 else f"val_{number + 1}"


def several(loaders: Any) -> list[Any]:
    """Loaders as a Trainer was given them: one, a list or a mapping."""
    if isinstance(loaders, Mapping):
        return list(loaders.values())
    return list(loaders) if isinstance(loaders, list | tuple) else [loaders]


def described_run(module: Student, precision: str) -> dict[str, str]:
    """Names everything that a Lightning checkpoint must agree with to be gone on from."""
    return {
        "precision": precision,
        "mentee.view": str(module.view),
        "schedule": str(module.open_schedule.over_any()),
        "loss": str(module.loss),
        "probes": str(module.student.probes),
    }


def begin_at_its_epoch(trainer: pl.Trainer) -> None:
    """Begins the first pass over `EpochBatches` anew where it was begun in another epoch. Lightning tells a sampler its epoch
    after it made the first iterator: a second fit would begin with the first one's last epoch, a resumed one with epoch 0."""
    loader = trainer.train_dataloader
    batches = getattr(loader, "batch_sampler", None)
    if isinstance(batches, EpochBatches) and batches.epoch != trainer.current_epoch:
        batches.set_epoch(trainer.current_epoch)
        with untouched_random_state():
            iter(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]


def passes(trainer: pl.Trainer) -> float:
    """How often the run passes over the samples; 1 of a stream, in which none comes again."""
    loader = trainer.train_dataloader
    batches, epochs = trainer.num_training_batches, max(1, trainer.max_epochs or 1)
    if not isinstance(loader, DataLoader) or batches == float("inf"):
        return 1.0
    try:
        samples = len(loader.dataset)  # type: ignore[arg-type]
        whole = len(loader)
    except (TypeError, NotImplementedError):
        return 1.0
    sampler = loader.batch_sampler
    batch = getattr(sampler, "batch_size", None) or samples / max(1, whole)
    steps = batches * epochs
    if trainer.max_steps > 0:
        steps = min(steps, trainer.max_steps * trainer.accumulate_grad_batches)
    return float(steps * batch * trainer.world_size / max(1, samples))
