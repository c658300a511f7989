"""One training step under a mentor: what Lightning runs."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch

from distill.curves import Schedule
from distill.schema import FitConfig
from distill.training.finite import require_finite
from distill.training.optimizer import optimizer_and_rates
from distill.training.ranks import gathered
from mentor.cache import AnswerCache
from mentor.mentor import Answers, Mentor
from mentor_mentee.data.batches import Drawn
from mentor_mentee.data.splits import Batch
from mentor_mentee.data.views.view import View
from mentor_mentee.objective.knobs import Knobs
from mentor_mentee.objective.loss import LossSpec, Terms, mentee_loss
from mentor_mentee.objective.probes import MenteeOutputs, ProbedMentee


class Distillation(pl.LightningModule):
    """Trains `student`, alone where `mentor` is None. The mentor is no submodule: no checkpoint of this holds its weights.

    All randomness of an epoch is a function of (seed, epoch), so a resumed run repeats what it would have done.
    """

    def __init__(
        self,
        student: ProbedMentee,
        view: View,
        schedule: Schedule,
        fit: FitConfig,
        seed: int,
        mentor: Mentor | None = None,
        loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
        caches: Mapping[str, AnswerCache] | None = None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """`caches`, by "train" and "val": splits whose answers are cached instead of asked for at each step. `class_weights`: of
        the cross-entropy, one a class."""
        super().__init__()
        self.student = student  # checkpoints name its tensors so
        self.view = view
        self.schedule = schedule
        self.fit_config = fit
        self.seed = seed
        self.mentor = mentor
        self.loss = loss
        loss.check_probes({probe.name: probe.adapter for probe in student.probes})
        self.caches = dict(caches or {})
        weight_K = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.class_weight_K: torch.Tensor | None
        self.register_buffer("class_weight_K", weight_K, persistent=False)
        self.layout = torch.contiguous_format
        self.recipe = ""  # of the student and its source, for what a checkpoint must agree with
        self.settings = "trainer"  # where `fit` is set, for messages
        self.only: torch.nn.Module | None = None  # the one part of the student that trains; the rest is in eval mode
        self.callbacks_recipe = "{}"  # of callbacks, which may change the weights
        self.shard_mentor = False  # over the processes of the training, which all ask at every step
        self._steps: int | None = None  # of the training, once it began
        self.run: dict[str, str] = {}  # what a checkpoint must agree with to be resumed

    def __deepcopy__(self, memo: dict[int, Any]) -> "Distillation":
        """A copy of the student, as averages of weights need it; mentor and cached answers are the same objects."""
        memo |= {id(self.mentor): self.mentor, id(self.caches): self.caches}
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        return twin

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = self.run
        checkpoint["stopped"] = bool(self.trainer.should_stop)
        checkpoint["appended"] = max(0, self.current_epoch + 1 - self.fit_config.max_epochs)  # epochs, by SWA

    def setup(self, stage: str) -> None:
        self._steps = None

    def on_fit_start(self) -> None:
        # DDP has wrapped the student by now, and adds up gradients of tensors whose strides change after that in a wrong order
        self.layout = fastest_layout(self.student) if self.trainer.world_size == 1 else torch.contiguous_format
        self.student.to(memory_format=self.layout)
        if self.mentor is not None:
            self.mentor = self.mentor.sharded(self.device) if self.shard_mentor else self.mentor.to(self.device)
        if self.fit_config.compile:
            self.student.compile()  # in place: its tensors keep their names

    def on_train_epoch_start(self) -> None:
        self.training_mode()  # Lightning restores each module's own mode after a validation, past the network's train()
        torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)

    def training_mode(self) -> None:
        """Calls `train()` once, on the root: what a network's own `train()` keeps in eval mode stays so, and a network that
        came in eval mode trains."""
        self.student.train(self.only is None)
        if self.only is not None:
            self.only.train()

    def knobs(self) -> Knobs:
        """The knobs of the next step."""
        return self.schedule.at_step(self.global_step, self.total_steps())

    def last_knobs(self) -> Knobs:
        """The knobs of the last step. An epoch's row and its validation are under its knobs, not under those of a next stage."""
        return self.schedule.at_step(max(0, self.global_step - 1), self.total_steps())

    def total_steps(self) -> int:
        """As it was before callbacks: Lightning's average of weights (SWA) appends an epoch, in which nothing is learnt."""
        if self._steps is None:
            self._steps = int(self.trainer.estimated_stepping_batches)
        return self._steps

    def training_step(self, batch: Drawn, batch_idx: int) -> dict[str, Any]:
        knobs = self.knobs()
        terms, outputs, labels_B = self.terms(batch, knobs)
        if self.device.type == "cpu" or batch_idx % 50 == 0:  # elsewhere each look waits for the device
            require_finite(terms, self.loss, knobs, self.current_epoch, batch_idx, self.settings)
        loss = terms.loss.squeeze(0)
        if (
            processes := self.trainer.world_size
        ) > 1:  # their gradients are parts of one, of which Lightning takes the mean
            loss = loss * processes
        return {"loss": loss, "terms": terms, "logits": outputs.logits, "labels": labels_B}

    @torch.no_grad()
    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        terms, outputs, labels_B = self.terms(batch, self.last_knobs())
        return {"terms": terms, "logits": outputs.logits, "labels": labels_B}

    def ask(self, batch: Batch | Drawn) -> Answers | None:
        """The mentor's answers, from a cache where there is one; None where there is no mentor."""
        if self.mentor is None:
            return None
        if isinstance(batch, Drawn):
            cache, view_B = self.caches.get("train"), batch.view_B
        else:
            cache, view_B = self.caches.get("val"), torch.zeros_like(batch.index_B)
        return cache.answer(batch.index_B, view_B, batch.image_BCHW) if cache else self.mentor.answer(batch.image_BCHW)

    def terms(self, batch: Batch | Drawn, knobs: Knobs) -> tuple[Terms, MenteeOutputs, torch.Tensor]:
        """The loss, what it is of, and the labels: of the whole batch, where several processes have a share of it each; of mixed
        samples those of the larger part."""
        source = self.view(batch.image_BCHW).contiguous(memory_format=self.layout)
        outputs: MenteeOutputs = self.student(source)
        # of a training in half precision this is the student's alone: the mentor stays what it is, the loss needs float32
        with torch.autocast(self.device.type, enabled=False):
            outputs = in_float32(outputs)
            supervised = self.mentor is not None and (knobs.beta > 0 or knobs.gamma > 0)
            answers = (self.ask(batch) if supervised else None) or unanswered(outputs)
            if answers.logits.shape[1] == 0:
                answers = answers._replace(logits=outputs.logits.detach())
            labels_B, other_B, share = batch.label_B, None, 1.0
            if isinstance(batch, Drawn):
                other_B, share = batch.other_B, batch.share
                if self._trainer is not None and self._trainer.world_size > 1:
                    outputs, answers, labels_B = of_all(outputs), of_all(answers), gathered(labels_B)
                    other_B = None if other_B is None else gathered(other_B)
            terms = self.loss_of(outputs, answers, labels_B, supervised, knobs, other_B, share)
            return terms, outputs, labels_B if other_B is None or share >= 0.5 else other_B

    def named(self, terms: Terms) -> dict[str, torch.Tensor]:
        """The terms by their public names, without that of the softmax where the mentor is not asked about it."""
        named = terms.named(self.loss)
        if self.mentor is not None and not self.mentor.logits:
            del named[self.loss.softmax]
        return named

    def loss_of(
        self,
        outputs: MenteeOutputs,
        answers: Answers,
        labels_B: torch.Tensor,
        supervised: bool,
        knobs: Knobs,
        other_B: torch.Tensor | None = None,
        share: float = 1.0,
    ) -> Terms:
        samples = outputs.logits.new_ones(len(labels_B))
        values = (knobs.alpha, knobs.beta, knobs.gamma, knobs.temperature)
        alpha, beta, gamma, temperature = (outputs.logits.new_full((1,), value) for value in values)
        return mentee_loss(
            outputs.logits,
            outputs.activations,
            labels_B=labels_B,
            labelled_B=(labels_B >= 0).to(samples.dtype),
            mentor_logits_BK=answers.logits,
            mentor_activations=answers.activations,
            supervised_B=None if supervised else torch.zeros_like(samples),
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            temperature=temperature,
            spec=self.loss,
            weights=self.student.weights(),
            label_smoothing=self.fit_config.label_smoothing,
            class_weight_K=self.class_weight_K,
            other_labels_B=other_B,
            label_share=share,
        )

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = optimizer_and_rates(
            self.student, self.fit_config, self.total_steps(), self.device, self.settings
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fastest_layout(network: torch.nn.Module) -> torch.memory_format:
    """channels_last, in which convolutions on a CPU run up to twice as fast, unless the network has a strided 1x1
    convolution of fewer than 8 channels: torch 2.15 writes past its buffers in the backward of that one."""
    strided = (
        layer
        for layer in network.modules()
        if isinstance(layer, torch.nn.Conv2d)
        and layer.in_channels < 8
        and any(stride > kernel for stride, kernel in zip(layer.stride, layer.kernel_size, strict=True))
    )
    scripted = any(
        isinstance(layer, torch.jit.ScriptModule) for layer in network.modules()
    )  # its layers cannot be looked at
    if scripted or next(strided, None) is not None:
        return torch.contiguous_format
    return torch.channels_last


Outputs = TypeVar("Outputs", MenteeOutputs, Answers)


def of_all(outputs: Outputs) -> Outputs:
    """Logits and activations of all processes; the embedding is nobody's here."""
    activations = {name: gathered(value) for name, value in outputs.activations.items()}
    return outputs._replace(logits=gathered(outputs.logits), activations=activations)


def in_float32(outputs: MenteeOutputs) -> MenteeOutputs:
    """The same tensors where they are float32."""
    activations = {name: value.float() for name, value in outputs.activations.items()}
    return MenteeOutputs(outputs.logits.float(), activations, outputs.embedding)


def unanswered(outputs: MenteeOutputs) -> Answers:
    """Stands where a mentor's answer does not count; masked out, but finite."""
    return Answers(outputs.logits.detach(), {name: value.detach() for name, value in outputs.activations.items()})
