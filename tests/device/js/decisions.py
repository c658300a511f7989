"""Decisions of the Python program on drawn evidence, for the TypeScript client to make alike."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device.guard.answers import answer, softmax
from mentee_device.guard.chance import better_beyond_chance, binomial_tail, loss_beyond
from mentee_device.guard.measures import Limits, judge, measure
from mentee_device.prototypes.enrolment import Enrolment
from mentee_device.runs.holdout import HeldOut, held_out
from mentee_device.state.about import About

K = 5
NAMES = tuple(f"class {number}" for number in range(K))


def write_decisions(folder: Path) -> None:
    random = np.random.default_rng(0)
    said = {
        "tails": [tail(random) for _ in range(200)],
        "verdicts": [verdict(random) for _ in range(600)],
        "held": [held(random) for _ in range(100)],
        "answers": [answers(random) for _ in range(50)],
        "calibrations": [calibration(random) for _ in range(20)],
        "recognised": [recognised(random) for _ in range(40)],
    }
    (folder / "decisions.json").write_text(json.dumps(said))


def tail(random: np.random.Generator) -> dict[str, Any]:
    tosses = int(random.integers(0, 400))
    least, more, less = (int(random.integers(0, tosses + 2)) for _ in range(3))
    probability, limit = float(random.random()), float(random.choice([0.0, 0.02, 0.1]))
    return {
        "given": [least, tosses, probability, more, less, limit],
        "tail": binomial_tail(least, tosses, probability),
        "better": better_beyond_chance(more, less),
        "beyond": loss_beyond(more, less, tosses + more + less + 1, limit),
    }


def verdict(random: np.random.Generator) -> dict[str, Any]:
    """Mentees that differ on few or many of the golden samples, under limits that are near what they lose."""
    N = int(random.choice([20, 100, 400]))
    labels_N, base_N = random.integers(0, K, N), random.integers(0, K, N)
    base_N = np.where(random.random(N) < 0.9, labels_N, base_N)
    seen_N = np.where(random.random(N) < random.choice([0.005, 0.03, 0.1]), random.integers(0, K, N), base_N)
    limits = Limits(
        golden_drop=float(random.choice([0.0, 0.01, 0.02, 0.05])),
        class_drop=random.choice([None, 0.02, 0.1]),
        agreement_least=random.choice([None, 0.9, 0.97]),
    )
    base_NK, seen_NK = np.eye(K)[base_N], np.eye(K)[seen_N]
    base, candidate = (measure(logits, labels_N, base_NK, resample=False) for logits in (base_NK, seen_NK))
    gained = bool(random.random() < 0.3)
    return {
        "labels": labels_N.tolist(),
        "base": base_N.tolist(),
        "seen": seen_N.tolist(),
        "limits": asdict(limits),
        "gained": gained,
        "accuracy": candidate.accuracy,
        "agreement": candidate.agreement,
        "reasons": judge(candidate, base, limits, NAMES, gained),
    }


def calibration(random: np.random.Generator) -> dict[str, Any]:
    """A base and a mentee that is surer than it, of the same answers mostly."""
    N = int(random.choice([20, 60]))
    labels_N = random.integers(0, K, N)
    base_NK = (random.normal(0, 1, (N, K)) + 2 * np.eye(K)[labels_N]).astype(np.float32)
    seen_NK = (base_NK * random.choice([1.2, 2, 4]) + random.normal(0, 0.1, (N, K))).astype(np.float32)
    limits = Limits(golden_drop=1.0, ece_rise=float(random.choice([0.0, 0.01, 0.05, 0.1])))
    base, seen = (measure(logits, labels_N, base_NK) for logits in (base_NK, seen_NK))
    return {
        "labels": labels_N.tolist(),
        "base": base_NK.ravel().tolist(),
        "seen": seen_NK.ravel().tolist(),
        "limits": asdict(limits),
        "ece": seen.ece,
        "rise": seen.ece_rise,
        "reasons": judge(seen, base, limits, NAMES),
    }


def held(random: np.random.Generator) -> dict[str, Any]:
    labels = random.integers(0, K, int(random.integers(1, 60))).tolist()
    stored = [About(number + 1, "", "owner", label, 1.0, 1) for number, label in enumerate(labels)]
    learnt = [number + 1 for number in range(len(labels)) if random.random() < 0.3]
    share = float(random.choice([0.0, 0.1, 0.25, 0.5, 0.9]))
    before_N, after_N = (random.random(len(labels)) < chance for chance in random.random(2))
    heard = HeldOut.of(before_N, after_N)
    return {
        "labels": labels,
        "learnt": learnt,
        "share": share,
        "held": held_out(stored, share, set(learnt)),
        "before": before_N.tolist(),
        "after": after_N.tolist(),
        "counts": asdict(heard),
        "worse": heard.clearly_worse,
        "better": heard.clearly_better,
    }


def answers(random: np.random.Generator) -> dict[str, Any]:
    logits_NK = random.normal(0, 2, (12, K)).astype(np.float32)
    blocked = [number for number in range(K) if random.random() < 0.3]
    floor = float(random.choice([0.0, 0.4, 0.7]))
    class_N, probability_N = answer(logits_NK, blocked, floor)
    given = {"logits": logits_NK.ravel().tolist(), "blocked": blocked, "floor": floor}
    return {**given, "classes": class_N.tolist(), "probability": probability_N.tolist()}


def recognised(random: np.random.Generator) -> dict[str, Any]:
    D, replay = 6, 30
    centres = random.normal(0, 1, (K + 2, D))
    labels_N = np.concatenate([np.arange(K), random.integers(-1, K, replay - K)])
    embedding_ND = (centres[labels_N] + random.normal(0, 0.6, (replay, D))).astype(np.float32)
    enrolment = Enrolment(NAMES, embedding_ND, labels_N)
    enrolled, number = [], 0
    for name, centre in (("new", K), ("other", K + 1), (NAMES[1], 1)):
        count = int(random.choice([1, 3, 60]))
        points = (centres[centre] + random.normal(0, 0.6, (count, D))).astype(np.float32)
        numbers = [*range(number, number + count)]
        enrolment.add(name, points, numbers)
        enrolled.append({"name": name, "points": points.ravel().tolist(), "numbers": numbers})
        number += count
    asked_ND = (centres[random.integers(0, K + 2, 20)] + random.normal(0, 0.8, (20, D))).astype(np.float32)
    own_NK = softmax(random.normal(0, 1, (20, K)).astype(np.float32)) if random.random() < 0.5 else None
    floor = float(random.choice([-1.0, 0.5, 0.9]))
    found = enrolment.recognise(asked_ND, own_NK, floor=floor)
    return {
        "embedding": embedding_ND.ravel().tolist(),
        "labels": labels_N.tolist(),
        "enrolled": enrolled,
        "asked": asked_ND.ravel().tolist(),
        "softmax": None if own_NK is None else own_NK.ravel().tolist(),
        "floor": floor,
        "names": found.names,
        "classes": found.classes.tolist(),
        "probability": found.probability_NC.ravel().tolist(),
        "similarity": found.similarity.tolist(),
    }
