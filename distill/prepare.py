"""Prepares a run: data, mentee, mentor, probes, cached answers; everything before the first training step."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from distill.curves import Schedule
from distill.exportable import EarlyWarning
from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor, require_accuracy
from distill.mentors.half import harmed
from distill.mentors.pairs import ChosenProbe, choose_probes, try_probes
from distill.mentors.probe_options import read_probes
from distill.mentors.softness import logit_deviation
from distill.networks.build import NewMentee, new_mentee
from distill.run_folder import require_checkpoint
from distill.schema import DistillConfig
from distill.training.answers import answer_caches, require_cacheable
from distill.training.class_weights import class_weights
from distill.training.loaders import epoch_batches, total_steps
from distill.training.optimizer import require_rates
from mentor.cache import AnswerCache
from mentor.mentor import Mentor
from mentor.precisions import AUTO, FULL
from mentor_mentee.data.load import load_data, under_budget
from mentor_mentee.data.splits import Splits
from mentor_mentee.data.views.drawn import require_drawable
from mentor_mentee.data.views.view import View
from mentor_mentee.errors import UserError
from mentor_mentee.objective.loss_spec import LossSpec
from mentor_mentee.objective.probes import Probe, ProbedMentee


@dataclass(frozen=True)
class Prepared:
    """A run of which nothing but the steps can fail any more."""

    config: DistillConfig
    schedule: Schedule
    loss: LossSpec
    splits: Splits
    mentee: NewMentee
    probed: ProbedMentee  # the mentee's network, and what its probes learn
    found: FoundMentor | None  # None in a run that never listens to one, unless it was given
    mentor: Mentor | None  # the found one, as one that answers at the probes
    probes: list[ChosenProbe]
    caches: dict[str, AnswerCache]  # by "train" and "val": the mentor's answers where they are cached


def prepare(
    config: DistillConfig,
    schedule: Schedule,
    machine: Machine,
    mentor: FoundMentor | None = None,
    warning: EarlyWarning | None = None,
) -> Prepared:
    """Raises `UserError` for all that can be known before a step, and before a mentor is trained where it does not need it.

    `mentor` saves finding it again where several runs share one; `warning` says by then whether the mentee will export. A run
    that never listens to a mentor finds, trains and asks none, and no number of views binds it, which serves a mentor's answers
    alone.
    """
    if not schedule.supervised():
        config = replace(config, trainer=replace(config.trainer, augment=replace(config.trainer.augment, views=None)))
    loss = LossSpec(**asdict(config.loss))
    whole = load_data(config.data, whole=True)
    splits = teachable(under_budget(config.data, whole), schedule, machine)
    if config.resume:
        config, mentor = as_before(config, mentor, require_checkpoint(Path(config.run_dir)))
    if schedule.supervised():
        require_cacheable(config)
    batches = epoch_batches(splits.train, config.trainer, config.seed)
    class_weights(config.trainer, splits, "trainer")  # raises what is wrong with them
    require_drawable(config.trainer.augment, splits.train.images, "trainer.augment")
    torch.manual_seed(config.seed)
    mentee = new_mentee(config.mentee, splits, machine)
    require_rates(mentee.network, config.trainer, "trainer")
    if warning is not None and not (schedule.supervised() and read_probes(config.probes).wanted):
        warning.ask(mentee, splits.classes, loss)
    found = mentor
    if found is None and schedule.supervised():
        found = find_for(config, loss, whole, splits, mentee, machine, warning)
    drawn = config.trainer.max_epochs * len(batches) * config.trainer.batch
    schedule = schedule.over(total_steps(batches, config.trainer), drawn / len(splits.train))
    chosen: list[ChosenProbe] = []
    if schedule.supervised():
        assert found is not None
        chosen = choose_probes(
            config.probes, found.mentor(), mentee.network, mentee.view, splits.train, machine, loss, schedule.in_units
        )
        if config.mentor.precision == AUTO:
            found = without_harm(config, found, [one.probe for one in chosen], whole, machine)
        if "temperature" in schedule.follows and loss.softmax == "kl" and not loss.standardise:
            schedule = schedule.under(logit_deviation(found.mentor(), splits.train))
    probes = [one.probe for one in chosen]
    if warning is not None:
        warning.ask(mentee, splits.classes, loss, probes)
    answering = None if found is None else found.mentor(probes, logits=schedule.asks_logits())
    probed = ProbedMentee(mentee.network, probes, mentee.head)
    caches: dict[str, AnswerCache] = {}
    if schedule.supervised() and answering is not None and not config.mentor.shard:
        caches = answer_caches(config, answering, splits, machine)
    if warning is not None:
        warning.tell()
    return Prepared(
        config=config,
        schedule=schedule,
        loss=loss,
        splits=splits,
        mentee=mentee,
        probed=probed,
        found=found,
        mentor=answering,
        probes=chosen,
        caches=caches,
    )


def find_for(
    config: DistillConfig,
    loss: LossSpec,
    whole: Splits,
    splits: Splits,
    mentee: NewMentee,
    machine: Machine,
    warning: EarlyWarning | None = None,
) -> FoundMentor:
    """The configuration's mentor, on the data without the label budget (`whole`). Where it has to be trained, the probes are
    tried on it first."""

    def try_on(untrained: nn.Module, its_view: View) -> None:
        probes = try_probes(config.probes, untrained, its_view, mentee.network, mentee.view, splits.train, loss)
        if warning is not None:
            warning.ask(mentee, splits.classes, loss, probes)
            warning.tell()

    with torch.random.fork_rng(
        devices=[]
    ):  # the mentee's random state is the same whether a mentor is trained or cached
        return find_mentor(config.mentor, whole, Path(config.cache_dir), machine, before_training=try_on)


def as_before(
    config: DistillConfig, mentor: FoundMentor | None, checkpoint: Path
) -> tuple[DistillConfig, FoundMentor | None]:
    """Both with the precision that was found for the run that goes on: its cache may be gone, or another machine's."""
    from distill.training.resume import precision_before  # Lightning takes seconds to import

    if config.mentor.precision != AUTO:
        return config, mentor
    precision = precision_before(checkpoint)
    config = replace(config, mentor=replace(config.mentor, precision=precision))
    return config, None if mentor is None else replace(mentor, precision=precision)


def without_harm(
    config: DistillConfig, found: FoundMentor, probes: list[Probe], whole: Splits, machine: Machine
) -> FoundMentor:
    """The mentor in float32 where half precision, which does its softmax no harm, does some to a layer that is compared."""
    if found.precision == FULL or not probes:
        return found
    exact = replace(found, precision=FULL)
    if (harm := harmed(exact.mentor(probes), found.mentor(probes), whole.train)) is None:
        return found
    machine.say(f"mentor: answers in float32 after all: {found.precision} {harm}")
    accuracy = require_accuracy(exact.mentor(), config.mentor, whole, found.origin, machine, Path(config.cache_dir))
    return replace(exact, val_accuracy=accuracy)


def teachable(splits: Splits, schedule: Schedule, machine: Machine) -> Splits:
    """Drops the unlabelled samples of a run without a mentor: they would take the labelled ones' place in the batches.

    Raises `UserError` where no sample has a label and the mentor is silent for a part of the run."""
    labelled = splits.train.labels >= 0
    span = schedule.unsupervised_span()
    if span is not None and not bool(labelled.any()):
        when = "throughout" if span == (0, 1) else f"from {span[0]:.0%} to {span[1]:.0%} of the run"
        raise UserError(
            f"no training sample has a label, and the schedule has β = γ = 0 {when}, so nothing would be learnt; give "
            "labels (data.labels_per_class), or a schedule under the mentor"
        )
    if schedule.supervised() or bool(labelled.all()):
        return splits
    count = int((~labelled).sum())
    machine.console.print(
        f"{count:,} unlabelled samples are left out: with β = γ = 0 there is nothing to learn from them",
        highlight=False,
    )
    return replace(splits, train=splits.train.subset(torch.nonzero(labelled).flatten()))
