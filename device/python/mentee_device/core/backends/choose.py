"""Which backend a bundle's mentee learns on: by what is installed, what the bundle has, or what was asked for."""

from mentee_device.bundle.archive import Bundle
from mentee_device.bundle.backends import ORT_TRAINING, STOCK
from mentee_device.bundle.errors import BundleError
from mentee_device.bundle.manifest import Manifest
from mentee_device.core import runtime
from mentee_device.core.backends import checkpoint, ort_training, state_file
from mentee_device.core.backends.backend import Backend
from mentee_device.core.backends.ort_training import TrainingSession
from mentee_device.core.backends.stock import StockSession
from mentee_device.core.backends.values import Values

BACKENDS = (ORT_TRAINING, STOCK)


def chosen(manifest: Manifest, wanted: str | None = None) -> str:
    """`wanted`, or the first of `BACKENDS` that the bundle has graphs for and this Python has the runtime of. Raises BundleError
    for a bundle that has none for `wanted`, RuntimeMissing where nothing that is installed runs it."""
    has = manifest.backends
    if wanted is not None and wanted not in BACKENDS:
        raise BundleError(f"there is no backend {str(wanted)[:70]!r}: expected {' or '.join(BACKENDS)}")
    if wanted is not None and wanted not in has:
        why = " ".join(manifest.left_out.get(wanted, "").split())[:300]
        rest = f"; the export left it out: {why}" if why else ", or export the mentee with backend=both"
        raise BundleError(
            f"the bundle has no graphs for the backend {wanted!r}, it has them for {', '.join(has)}: choose that{rest}"
        )
    name = wanted or (ORT_TRAINING if ORT_TRAINING in has and (STOCK not in has or runtime.can_train()) else STOCK)
    if name == ORT_TRAINING:
        runtime.training()
    else:
        runtime.plain()
    return name


def opened(bundle: Bundle, threads: int, name: str) -> Backend:
    """A session of backend `name` at the bundle's own parameters. Raises BundleError, RuntimeMissing."""
    return StockSession(bundle, threads) if name == STOCK else TrainingSession(bundle, threads)


def resumed(bundle: Bundle, threads: int, name: str, dump: bytes) -> Backend:
    """A session of backend `name` on what `dump` of this or another backend gave. Raises BundleError, RuntimeMissing."""
    if name == STOCK:
        return StockSession(bundle, threads, read_values(dump))
    if checkpoint.is_checkpoint(dump) or not state_file.is_state(dump):
        return ort_training.resumed(bundle, threads, dump)
    return ort_training.resumed_from_elsewhere(bundle, threads, read_values(dump))


def read_values(dump: bytes) -> Values:
    """A state's content, whichever backend wrote it; needs no bundle. Raises BundleError."""
    return checkpoint.read(dump) if checkpoint.is_checkpoint(dump) else state_file.read(dump)
