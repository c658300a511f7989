"""The device of a message: its bundle and its owner, opened for one round and closed after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mentee_device import Bundle, Owner, Samples

from fleet.client.settings import DeviceSettings
from fleet.wire.errors import FleetError
from fleet.wire.public import digest_of
from fleet.wire.terms import Terms


@contextmanager
def opened(settings: DeviceSettings) -> Iterator[Owner]:
    """The owner, for this process alone. Raises FleetError for samples that cannot be read, and what `Owner` raises."""
    with (
        Bundle.open(settings.bundle, settings.key or None) as bundle,
        Owner(bundle, settings.state, settings.secret(), settings.threads, settings.backend or None) as owner,
    ):
        if settings.data and not owner.samples.all():
            owner.add(read_samples(Path(settings.data)))
        yield owner


def read_samples(path: Path) -> Samples:
    """`input` and `labels` of an .npz."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Samples(file["input"], file["labels"])
    except (OSError, ValueError, KeyError) as error:
        raise FleetError(
            f"data {str(path)!r} cannot be read ({error}): expected an .npz of input and labels"
        ) from error


def public_digest(owner: Owner) -> str:
    return digest_of(owner.learner.supervision.samples.input, owner.bundle.manifest.classes)


def require_member(owner: Owner, settings: DeviceSettings, terms: Terms) -> None:
    """Raises FleetError where the round is another fleet's, or for another base."""
    if settings.fleet and settings.fleet != terms.fleet:
        raise FleetError(
            f"this device is in the fleet {settings.fleet!r}, the round is of {terms.fleet!r}: it takes no part"
        )
    mine = owner.bundle.manifest.id
    if terms.base and terms.base != mine:
        raise FleetError(
            f"this device is on bundle {mine[:12]}…, the fleet's base is {terms.base[:12]}…: migrate the device, or give the "
            "server this bundle"
        )
    if terms.public and terms.public != (found := public_digest(owner)):
        raise FleetError(
            f"this device's public set is {found[:12]}…, the fleet's is {terms.public[:12]}…: its bundle must have the same "
            "replay samples and classes, in the same order"
        )
