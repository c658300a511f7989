"""The version that answers, in memory."""

from mentee_device.core.learner import Learner
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.database import StateError
from mentee_device.state.versions import BASE


def go_to_current(state: DeviceState, learner: Learner) -> None:
    """`learner` becomes the current version, or where that is damaged the newest intact one before it."""
    versions, store = state.versions, state.store
    current = versions.current
    if current == BASE:
        learner.reset()
        return
    try:
        snapshot = versions.snapshot(current)
    except StateError as damage:
        before = versions.newest_intact([one.number for one in versions.lineage(current)[1:]])
        with store.transaction():
            versions.settle(current, "damaged", str(damage))
            versions.make_current(before)
            line = f"{damage}: went back to v{before}" + (", the base" if before == BASE else "")
            store.record("recovery", line, before=current, after=before)
        store.notes.append(line)
        go_to_current(state, learner)
        return
    learner.restore(snapshot)
