"""States of owners that were killed or closed, and what such a state holds: all that must be found again, or said to be gone."""

import contextlib
import os
import random
import shutil
import signal
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Budget, Bundle, Owner, Plan, Progress, Samples, StateError
from mentee_device.anomaly.normal import Watch
from mentee_device.core.backends.choose import chosen
from mentee_device.prototypes.enrolled import enrolled_rows
from mentee_device.runs.plans.settings import read_settings
from mentee_device.state.device_state import DeviceState
from mentee_device.state.storage.store import Store

KEY = bytes(range(32))
ENDS = ("closed", "killed after it was asked", "killed in a run", "closed, sealed", "killed, sealed")


@dataclass(frozen=True)
class Life:
    """A state at `folder`, an older copy of it, and its key."""

    name: str
    folder: Path
    before: Path
    key_file: Path | None
    backend: str | None = None

    @property
    def key(self) -> bytes | None:
        return KEY if self.key_file else None


def lives(bundle: Bundle, scratch: Path, chance: random.Random) -> list[Life]:
    """One of each end, made by processes of their own, which kill themselves; on the bundle's backends in turns."""
    made = list[Life]()
    for name in ENDS:
        sealed = "sealed" in name
        if sealed and not _can_seal():
            continue
        folder, before = scratch / name.replace(" ", "_"), scratch / f"{name.replace(' ', '_')}_before"
        key_file = scratch / "key" if sealed else None
        if key_file is not None:
            key_file.write_bytes(KEY)
        backends = bundle.manifest.backends
        life = Life(name, folder, before, key_file, backends[len(made) % len(backends)])
        seed = chance.randrange(2**31)
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                live(bundle, life, np.random.default_rng(seed))
                os._exit(0)
            os._exit(1)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise SystemExit(f"error: the state that is {name} could not be made")
        made.append(life)
    return made


def live(bundle: Bundle, life: Life, generator: np.random.Generator) -> None:
    """Stores, learns, enrols, observes; then ends as the life's name says."""
    owner = Owner(bundle, life.folder, life.key, backend=life.backend)
    owner.set(golden_drop=1.0, confidence_floor=0.1, most_versions=3)
    samples = some(bundle, generator, 12)
    owner.add(samples.take(np.arange(8)))
    owner.learn(Plan(budget=Budget(steps=2), save_every=1))
    owner.enrol("$new", samples.input[:2])
    owner.observe(samples.input, Watch(samples=6))
    owner.close()
    shutil.copytree(life.folder, life.before)
    owner = Owner(bundle, life.folder, life.key, backend=life.backend)
    owner.add(samples.take(np.arange(8, 12)))
    owner.learn(Plan(budget=Budget(steps=3)))
    owner.add(Samples(some(bundle, generator, 3).input, np.full(3, -1)))
    owner.unlearn([2])
    if "closed" in life.name:
        owner.learn(Plan(budget=Budget(steps=5), save_every=1), on_progress=lambda at: rest(owner, at))
        owner.close()
        return

    def stop(progress: Any) -> None:
        if progress.done.steps == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    if "run" in life.name:
        owner.learn(Plan(budget=Budget(steps=9), save_every=1), on_progress=stop)
    owner.learn(Plan(budget=Budget(steps=2)))
    os.kill(os.getpid(), signal.SIGKILL)


def rest(owner: Owner, progress: Progress) -> None:
    """Pauses a run after its third step."""
    if progress.done.steps == 3:
        owner.pause()


def some(bundle: Bundle, generator: np.random.Generator, count: int) -> Samples:
    """Golden samples, each with some bits of its own."""
    golden = bundle.golden()
    rows = generator.integers(0, len(golden), count)
    noise = generator.integers(0, 2, golden.input[rows].shape, dtype=np.uint8)
    return Samples(golden.input[rows] ^ noise, golden.labels[rows])


def held(bundle: Bundle, store: Store) -> dict[str, Any]:
    """All that an owner would miss, by name."""
    state = DeviceState.on(bundle, store, 1, chosen(bundle.manifest))
    found: dict[str, Any] = {"answers from": state.versions.current, "settings": vars(read_settings(store))}
    for one in state.samples.all():
        content = state.samples.content(one.number)
        what = None if content is None else sha256(content[0].tobytes()).hexdigest()
        found[f"sample {one.number}"] = (one.label, one.source, one.weight, one.time, what)
    for version in state.versions.all():
        digest = None
        if version.status in ("accepted", "candidate"):
            with contextlib.suppress(StateError):
                digest = state.versions.snapshot(version.number).digest()
        found[f"version {version.number}"] = (*vars(version).values(), digest)
    found |= {f"line {entry.number}": (entry.time, entry.event, entry.line, entry.details) for entry in store.log()}
    found["enrolled"] = [(name, row.tobytes().hex()) for _, name, row in enrolled_rows(store)]
    observed = store.get(f"normal {bundle.manifest.id[:16]}")
    found["observed"] = [] if observed is None else [sha256(observed).hexdigest()]
    return found


def missing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what is gone or another."""
    return [name for name, value in before.items() if name not in after or not _same(after[name], value)]


def _same(one: Any, other: Any) -> bool:
    return (one if isinstance(one, str) else repr(one)) == (other if isinstance(other, str) else repr(other))


def _can_seal() -> bool:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return False
    return True
