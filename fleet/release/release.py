"""A fleet's result -> the next base bundle, which devices migrate to with what they have learnt themselves."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mentee_device import Bundle, Learner
from numpy.typing import NDArray

from export.bundle.prepare import on_device
from export.bundle.reading.read import opened
from export.bundle.verify import settings as export_settings
from export.bundle.write import Exported, export_bundle
from export.network.batch_norm import running_statistics
from fleet.release.networks import distilled
from fleet.server.golden import GoldenSet
from fleet.server.result import FleetResult
from fleet.server.settings import FleetSettings
from fleet.wire.errors import FleetError
from fleet.wire.terms import DISTIL
from mentee.checkpoint import MenteeCheckpoint

if TYPE_CHECKING:
    from export.bundle.prepare import OnDevice

Parameters = Mapping[str, NDArray[np.float32]]


def release_run(result: FleetResult, settings: FleetSettings) -> Exported:
    """With the paths of a run's settings."""
    return release(
        result,
        Path(settings.bundle),
        Path(settings.checkpoint),
        Path(settings.release),
        sign_key=settings.sign_key or None,
        golden_drop=settings.golden_drop,
    )


def release(
    result: FleetResult,
    base: Path,
    checkpoint: Path,
    bundle: Path,
    *,
    sign_key: str | None = None,
    golden_drop: float = 0.02,
    data: Any = None,
) -> Exported:
    """Exports `bundle` with the settings that `base` was exported with; of a distillation also the new mentee's checkpoint
    and the new mentor's weights, beside it. `data` as `export_bundle` takes it, where the checkpoint names none.

    Raises FleetError where the result is of another base, or costs more than `golden_drop` on the golden set beyond chance;
    `UserError` as an export does.
    """
    source = MenteeCheckpoint.load(checkpoint)
    with opened(base) as (folder, manifest), Bundle.open(folder) as device_bundle:
        if result.about.get("base") != manifest["id"]:
            raise FleetError(
                f"the result is of base {str(result.about.get('base'))[:12]}…, and {base} is {manifest['id'][:12]}…"
            )
        settings = replace(export_settings(manifest["settings"]), sign_key=sign_key)
        with Learner(device_bundle) as learner:
            parameters: Parameters | None = learner.parameters()
        assert parameters is not None
        if result.about["mode"] == DISTIL:
            source = distilled(source, settings, device_bundle, result.arrays, bundle, data)
            parameters = None
        else:
            parameters = {**parameters, **result.arrays}
        require_golden(device_bundle, on_device(source, settings, parameters), golden_drop)
    return export_bundle(source, bundle, settings, data=data, parameters=parameters)


def require_golden(base: Bundle, mentee: "OnDevice", golden_drop: float) -> None:
    """Raises FleetError for a mentee that everybody would lose by."""
    network = mentee.network
    arrays = {name: value.detach().numpy() for name, value in network.named_parameters() if value.requires_grad}
    arrays |= {name: network.get_buffer(name).numpy() for name in running_statistics(network)}
    golden = GoldenSet(base, golden_drop)
    if reasons := golden(arrays, 0):
        raise FleetError(f"the guard refuses the result, no bundle is made: {'; '.join(reasons)}")
