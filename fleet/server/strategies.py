"""Which of Flower's strategies a run is under, by its settings."""

from collections.abc import Iterable
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import NeighboringRelation, PrivacyConfig, RdpAccountant, SamplingMethod
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy

from fleet.server.settings import FleetSettings
from fleet.wire.errors import FleetError


def strategy_of(settings: FleetSettings) -> Strategy:
    """A strategy of Flower's, under its differential privacy where there is noise. Raises FleetError."""
    common: dict[str, Any] = {
        "fraction_train": settings.fraction,
        "fraction_evaluate": settings.fraction if settings.evaluate else 0.0,
        "min_train_nodes": settings.min_devices,
        "min_evaluate_nodes": settings.min_devices if settings.evaluate else 0,
        "min_available_nodes": settings.min_devices,
    }
    if settings.noise:
        return private(settings, common)
    match settings.strategy:
        case "fedprox":
            return flower.FedProx(**common, proximal_mu=settings.proximal_mu)
        case "fedadam":
            return flower.FedAdam(**common, eta=settings.eta)
        case "median":
            return flower.FedMedian(**common)
        case "trimmed-mean":
            return flower.FedTrimmedAvg(**common, beta=settings.trim)
        case "krum":
            return flower.Krum(**common, num_malicious_nodes=settings.poisoned)
        case "multi-krum":
            return SoundMultiKrum(**common, num_malicious_nodes=settings.poisoned)
        case _:
            return flower.FedAvg(**common)


class SoundMultiKrum(flower.MultiKrum):
    """MultiKrum that averages as many replies as came without an error, less those that may be poisoned. Flower's number is fixed
    for the run: where devices fail it takes the liars in."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        came = list(replies)
        answered = sum(not one.has_error() for one in came)
        self.num_nodes_to_select = max(1, answered - self.num_malicious_nodes)
        return super().aggregate_train(server_round, came)


def private(settings: FleetSettings, common: dict[str, Any]) -> Strategy:
    """FedAvg with each update clipped and Gaussian noise on the sum, under Flower's accountant: exactly `min_devices` devices a
    round, which all count the same. Raises FleetError."""
    population = settings.population or settings.min_devices
    try:
        accountant = RdpAccountant(
            PrivacyConfig(
                target_delta=settings.delta,
                population_size=population,
                neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
                sampling_method=SamplingMethod.NO_AMPLIFICATION,
            )
        )
    except ImportError as error:
        raise FleetError(f"noise needs Flower's accountant ({error}): pip install 'flwr[dp]'") from error
    inner = flower.FedAvg(**{**common, "fraction_train": 1e-9})
    return flower.DifferentialPrivacyServerSideFixedClipping(
        inner, settings.noise, settings.clip, settings.min_devices, accountant=accountant
    )


def privacy_of(strategy: Strategy) -> dict[str, float | int] | None:
    """ε at δ after so many releases, by Flower's accountant; None where there is no noise."""
    if not isinstance(strategy, flower.DifferentialPrivacyServerSideFixedClipping):
        return None
    spent = strategy.privacy_spent()
    return None if spent is None else {"epsilon": spent.epsilon, "delta": spent.delta, "releases": spent.num_releases}
