"""A fleet's run: strategy, members and guard put together, started, and its result written."""

from dataclasses import dataclass
from logging import INFO
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from flwr.supercore import log
from mentee_device import Bundle

from fleet.server.distilling import Distillation
from fleet.server.golden import GoldenSet, PublicLabels
from fleet.server.guarded import Guarded
from fleet.server.members import Members
from fleet.server.result import FleetResult
from fleet.server.settings import FleetSettings
from fleet.server.strategies import privacy_of, strategy_of
from fleet.wire.arrays import record_of
from fleet.wire.public import digest_of
from fleet.wire.terms import AVERAGE, DISTIL, Terms


@dataclass(frozen=True)
class Parts:
    """The parts of a run. `begin`: the arrays of its first round."""

    strategy: Guarded
    members: Members
    terms: Terms
    begin: ArrayRecord


def parts_of(grid: Grid, settings: FleetSettings, bundle: Bundle) -> Parts:
    """Raises FleetError."""
    public = digest_of(bundle.supervision().samples.input, bundle.manifest.classes) if settings.mode == DISTIL else ""
    terms = settings.terms(bundle.manifest.id, public)
    patience = max(settings.timeout, 120.0)
    members = Members(grid, terms.record(), patience, settings.min_devices, settings.wait)
    inner, most = strategy_of(settings), 1 if settings.noise else settings.most_examples
    if settings.mode == DISTIL:
        judge = PublicLabels(bundle, terms, settings.golden_drop, settings.reply_drop)
        distillation = Distillation(inner, members, judge, terms, most)
        return Parts(distillation, members, terms, distillation.begin())
    if settings.noise:
        log(INFO, "fleet: replies are not screened under noise, whose ε holds for a sum of all of them")
    golden = GoldenSet(bundle, settings.golden_drop, 1.0 if settings.noise else settings.reply_drop)
    head = bundle.manifest.head
    shared = {
        name: value
        for name, value in golden.parameters().items()
        if terms.shared == "all" or name.rpartition(".")[0] != head
    }
    return Parts(Guarded(inner, members, golden, most), members, terms, record_of(shared))


def run(grid: Grid, settings: FleetSettings) -> FleetResult:
    """All rounds. Raises FleetError, BundleError."""
    with Bundle.open(settings.bundle, settings.key or None) as bundle:
        parts = parts_of(grid, settings, bundle)
        begun = {name: array.numpy() for name, array in parts.begin.items()}
        result = parts.strategy.start(
            parts.members,
            parts.begin,
            num_rounds=settings.rounds,
            timeout=settings.timeout,
            train_config=parts.terms.record(),
            evaluate_config=parts.terms.record(),
        )
        taken = {name: array.numpy() for name, array in result.arrays.items()} or begun
        if isinstance(parts.strategy, Distillation):
            taken = {"logits": parts.strategy.average_NK, "answered": parts.strategy.answered_N.astype("uint8")}
        return FleetResult(taken, about(settings, bundle, parts, result))


def about(settings: FleetSettings, bundle: Bundle, parts: Parts, result: Result) -> dict[str, Any]:
    spent = privacy_of(parts.strategy.inner)
    return {
        "mode": settings.mode,
        "base": bundle.manifest.id,
        "fleet": settings.fleet,
        "strategy": settings.strategy,
        "shared": settings.shared,
        "rounds": parts.strategy.rounds,
        **({"ended": parts.strategy.ended} if parts.strategy.ended else {}),
        "devices": len(parts.members.members),
        "left_out": list(parts.members.strangers.values()),
        "refused": parts.strategy.refused,
        "screened": parts.strategy.screened,
        "bytes_to_devices": parts.strategy.sent,
        "bytes_from_devices": parts.strategy.received,
        **({} if spent is None else {"privacy": spent}),
        "train": rows(result.train_metrics_clientapp),
        "evaluate": rows(result.evaluate_metrics_clientapp),
    }


def rows(metrics: dict[int, MetricRecord]) -> dict[str, dict[str, Any]]:
    return {str(number): dict(record) for number, record in metrics.items()}


def save(result: FleetResult, settings: FleetSettings) -> None:
    path = Path(settings.out)
    result.save(path)
    what = "parameters" if settings.mode == AVERAGE else "average logits"
    log(INFO, "fleet: %s of %d rounds in %s", what, result.about["rounds"], path)
