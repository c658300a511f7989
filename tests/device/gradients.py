"""The gradients that a session has added up, which no device program needs by name."""

import numpy as np
from mentee_device.core.backends.backend import Backend
from mentee_device.core.backends.ort_training import TrainingSession
from mentee_device.core.backends.stock import StockSession
from mentee_device.core.backends.values import apart
from numpy.typing import NDArray


def gradients_of(session: Backend) -> dict[str, NDArray[np.float32]]:
    """By parameter."""
    if isinstance(session, StockSession):
        assert session._gradient is not None
        return apart(session._stock.parameters, session._gradient.copy())
    assert isinstance(session, TrainingSession)
    return {one.name: np.array(one.grad) for one in session._parameters if one.requires_grad}
