"""The commands that change which version answers: learn, roll back, reset, unlearn."""

import argparse
import statistics
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.inputs import KNOBS
from mentee_device.bundle.samples import SampleError, Samples
from mentee_device.cli.inputs import Report, open_owner, read_samples
from mentee_device.cli.options import add_fields, at_least, curve, given_fields
from mentee_device.core.step import LearningError
from mentee_device.owner import Owner
from mentee_device.runs.holdout import HeldOut
from mentee_device.runs.plans.budget import Budget, be_nice
from mentee_device.runs.plans.plan import Plan
from mentee_device.runs.plans.settings import Settings
from mentee_device.runs.replay import REPLAYS
from mentee_device.runs.run import OnProgress
from mentee_device.runs.runs import RunResult
from mentee_device.state.about import About

NOT_OPTIONS = ("samples", "budget", "knobs", "once", "seed")  # fields of a Plan that no option gives as they are
BUDGET_FLAGS = {"samples": "--budget-samples"}


def learn_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `learn`: the fields of Budget and Plan, and how to run it."""
    add_fields(command, Budget, flags=BUDGET_FLAGS)
    add_fields(command, Plan, NOT_OPTIONS, {"replay": REPLAYS})
    lines = {one.name: one.metadata["help"] for one in fields(Settings)}
    for knob in KNOBS:
        text = f"{lines[knob]}; a number, or [[0, 2], [1, 0.1]] over the run"
        command.add_argument(f"--{knob}", type=curve, metavar="CURVE", help=text)
    command.add_argument("--seed", type=at_least(0), metavar="N", help="of a new state (default 0); an old one goes on")
    command.add_argument(
        "--every", type=at_least(1), metavar="N", help="one pass: learn after every N labelled samples"
    )
    command.add_argument("--nice", type=at_least(1), metavar="N", help="lower the process's priority by N")
    command.add_argument(
        "--resume", action="store_true", help="go on with a run that was cut off; --data only judges it"
    )
    command.add_argument("--discard", action="store_true", help="drop a run that was cut off, then learn")


def plan_of(given: argparse.Namespace) -> Plan:
    """The plan that the options of `learn` ask for. Raises LearningError."""
    bounds = given_fields(given, Budget, flags=BUDGET_FLAGS)
    knobs = {name: getattr(given, name) for name in KNOBS if getattr(given, name) is not None}
    return Plan(budget=Budget(**bounds) if bounds else None, knobs=knobs, **given_fields(given, Plan, NOT_OPTIONS))


def learn(given: argparse.Namespace, bundle: Bundle, on_progress: OnProgress | None = None) -> Report:
    """Stores --data, if any, then learns from all stored samples; the guard decides whether that stays."""
    plan = plan_of(given)  # a wrong option is refused before a sample is stored
    if given.resume and (given.discard or given.every):
        raise LearningError("--resume goes on with the run as it was begun: leave --discard and --every out")
    if given.every and not given.data:
        raise LearningError("--every learns from --data as it comes: give it")
    samples = read_samples(given.data, bundle) if given.data else None
    with open_owner(given, bundle, new=samples is not None) as owner:
        plan.resolved(owner.settings, ())  # so is one that the settings have something against
        if given.discard:
            owner.discard()
        if given.resume == (owner.paused is None):
            paused = f"run v{owner.paused.number}" if owner.paused else "no run"
            raise LearningError(
                f"{paused} is unfinished: " + ("learn --resume, or --discard" if owner.paused else "leave --resume out")
            )
        if given.nice:
            be_nice(given.nice)
        hits = [_hits(owner, samples)]
        results = _results(given, owner, plan, samples, on_progress)
        hits.append(_hits(owner, samples))
        trained = _trained(owner, samples, results)
        return {
            **({"held_out": 0} if plan.holdout else {}),  # where all labels were learnt before
            **_of_results(results),
            "step": owner.learner.step,
            **{
                f"training_accuracy_{when}": float(found[trained].mean()) if trained.any() else None
                for when, found in zip(("before", "after"), hits, strict=True)
            },
        }


def _hits(owner: Owner, samples: Samples | None) -> NDArray[np.bool_]:
    """[N]: whether the mentee that answers now is right on the sample; false without a label."""
    labels_N = np.zeros(0, np.int64) if samples is None else samples.labels
    hits_N, known = np.zeros(len(labels_N), bool), np.flatnonzero(labels_N >= 0)
    if samples is not None and len(known):
        hits_N[known] = owner.predict(samples.input[known]).logits.argmax(axis=1) == labels_N[known]
    return hits_N


def _trained(owner: Owner, samples: Samples | None, results: list[RunResult]) -> NDArray[np.bool_]:
    """[N]: which of --data have a label that was not held out."""
    if samples is None:
        return np.zeros(0, bool)
    held = {number for result in results for number in owner.versions.get(result.number).plan.get("held", ())}
    numbers = [owner.samples.find(one) if held else None for one in samples.input]
    return (samples.labels >= 0) & ~np.isin([-1 if number is None else number for number in numbers], list(held))


def _results(
    given: argparse.Namespace, owner: Owner, plan: Plan, samples: Samples | None, on_progress: OnProgress | None
) -> list[RunResult]:
    if given.resume:
        return [owner.resume(on_progress=on_progress)]
    if not owner.versions.all():
        plan = replace(plan, seed=given.seed)
    if given.every and samples is not None:
        return owner.stream(samples, given.every, plan=plan, on_progress=on_progress)
    if samples is not None:
        owner.add(samples)
    return [owner.learn(plan, on_progress=on_progress)]


def _of_results(results: list[RunResult]) -> Report:
    if not results:
        return {"steps": 0, "status": "waiting", "why": "too few new labelled samples: they wait for the next time"}
    last = results[-1]
    milliseconds = [value for result in results for value in result.milliseconds]
    return {
        "steps": sum(result.steps for result in results),
        "version": last.number,
        "status": ", ".join(result.status for result in results),
        "why": last.why,
        "golden_before": results[0].golden_before,
        "golden_after": last.golden_after,
        **_of_held_out(last.held_out),
        "evidence": "; ".join(last.evidence) or None,
        "first": results[0].first,
        "last": last.last,
        "ms_per_step": round(statistics.median(milliseconds), 3) if milliseconds else None,
    }


def _of_held_out(held: HeldOut | None) -> Report:
    """Accuracies on the owner's labels that the run did not learn from, and how many those are."""
    if held is None:
        return {}
    return {
        "held_out": held.samples,
        "held_out_accuracy_before": held.before / held.samples,
        "held_out_accuracy_after": held.after / held.samples,
    }


def rollback(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Makes an older version current: --to, or the one before the current."""
    with open_owner(given, bundle) as owner:
        before = owner.versions.current
        return {"before": before, "current": owner.roll_back(given.to), "step": owner.learner.step}


def reset(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Makes the base current; samples, versions and log stay."""
    with open_owner(given, bundle) as owner:
        undone = owner.learner.step
        owner.reset()
        return {"step": owner.learner.step, "undone_steps": undone}


def unlearn(given: argparse.Namespace, bundle: Bundle, on_progress: OnProgress | None = None) -> Report:
    """Removes samples and what they taught: by --samples, --source, --label, or --all."""
    if not (given.all or given.samples or given.source or given.label):
        raise SampleError("nothing to unlearn: give --samples, --source, --label or --all")

    with open_owner(given, bundle) as owner:
        classes = owner.classes
        if given.label is not None and given.label not in classes:
            raise SampleError(f"no class {given.label!r}; there are {', '.join(classes[:20])}")
        label = classes.index(given.label) if given.label is not None else None

        def matching(one: About) -> bool:
            chosen = given.source is not None or label is not None
            by_source = given.source is None or one.source == given.source
            return bool(given.all) or (chosen and by_source and (label is None or one.label == label))

        gone = owner.unlearn(given.samples, matching, on_progress=on_progress)
        return {
            "samples_unlearned": len(gone.samples),
            "versions_unlearned": gone.versions,
            "current": gone.current,
            "replay": f"{gone.replay.status}: {gone.replay.why}" if gone.replay else None,
        }
