"""The checkpoints of a mentee, and which of them is current. Number 0 is the base, which lies in the bundle.

A version is made as a `candidate`, saved over and over while a run lasts, and becomes `accepted` or `dropped` in the one
transaction that also writes why. Later it may be `pruned` (too many), `unlearned` (a sample it learnt from was), `superseded`
(its base was) or `damaged`; its row stays, its checkpoint goes.
"""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mentee_device.core.snapshot import Snapshot
from mentee_device.state.storage.database import Damaged, StateError
from mentee_device.state.storage.store import CLOCK, Store

BASE = 0
IDENTITY = "identity"  # in a verdict: what a version that came from another device was known by there
STORED = {"accepted": "kept", "unlearned": "forgotten"}  # statuses whose name in format 2 is another one
STATUS = {stored: status for status, stored in STORED.items()}
COLUMNS = "number, name, parent, status, time, bundle, step, learned, plan, progress, verdict, why"


@dataclass(frozen=True)
class Version:
    """All of a version but its checkpoint. `learned`: numbers of the samples that its own run learnt from, not its parents'."""

    number: int
    name: str
    parent: int
    status: str
    time: str
    bundle: str
    step: int
    learned: tuple[int, ...]
    plan: dict[str, Any]
    progress: dict[str, Any]
    verdict: dict[str, Any]
    why: str

    @property
    def golden_accuracy(self) -> float | None:
        """On the golden set, when it was judged."""
        accuracy: float | None = self.verdict.get("update", {}).get("accuracy")
        return accuracy


class Versions:
    """The versions of `store`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def current(self) -> int:
        """Number of the version that answers."""
        return int(self.store.rows("SELECT current FROM state")[0][0])

    def make_current(self, number: int) -> None:
        """From now on `number` answers."""
        with self.store.transaction() as connection:
            connection.execute("UPDATE state SET current = ?", (number,))

    def all(self) -> list[Version]:
        """Oldest first, the base left out."""
        return [_version(row) for row in self.store.rows(f"SELECT {COLUMNS} FROM versions ORDER BY number")]

    def get(self, number: int) -> Version:
        """Raises StateError where there is none."""
        held = abs(number) < 1 << 63  # what SQLite takes
        rows = self.store.rows(f"SELECT {COLUMNS} FROM versions WHERE number = ?", number) if held else []
        if not rows:
            raise StateError(
                f"no version {number}: there are {[version.number for version in self.all()]} and 0, the base"
            )
        return _version(rows[0])

    def candidate(self) -> Version | None:
        """The run that was paused or cut off, if there is one."""
        rows = self.store.rows(f"SELECT {COLUMNS} FROM versions WHERE status = 'candidate'")
        return _version(rows[0]) if rows else None

    def snapshot(self, number: int) -> Snapshot:
        """Raises StateError where its checkpoint is gone, Damaged where it is not what was written."""
        rows = self.store.rows(
            "SELECT bundle, step, learning_rate, random, checkpoint, digest, status FROM versions WHERE number = ?",
            number,
        )
        if not rows or rows[0][4] is None:
            raise StateError(f"version {number} has no checkpoint any more ({self.get(number).status})")
        bundle, step, rate, random, sealed, digest, _ = rows[0]
        try:
            found = Snapshot(bundle, step, rate, json.loads(random), self.store.seal.open(sealed, f"version {number}"))
            if found.digest() == digest:
                return found
        except (ValueError, TypeError, AttributeError):  # a StateError of the seal is a ValueError
            pass
        raise Damaged(f"version {number} is damaged (its digest does not match)")

    def begin(self, plan: dict[str, Any], learned: Collection[int], parent: int, start: Snapshot) -> int:
        """A new candidate that is still equal to its parent; its number."""
        with self.store.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO versions (name, parent, status, time, bundle, step, learning_rate, random, digest, learned,"
                " plan, progress, verdict, why) VALUES ('', ?, 'candidate', ?, ?, 0, 0, '{}', '', ?, ?, '{}', '{}', '')",
                (parent, _now(), start.bundle, json.dumps(sorted(learned)), json.dumps(plan)),
            )
            number = int(cursor.lastrowid or 0)
            connection.execute("UPDATE versions SET name = ? WHERE number = ?", (f"v{number}", number))
            self.save(number, start, {})
        return number

    def save(
        self, number: int, snapshot: Snapshot, progress: dict[str, Any], guesses: Mapping[int, int] | None = None
    ) -> None:
        """Replaces what is saved of a candidate; `guesses`: labels that its run gave, by sample."""
        with self.store.transaction() as connection:
            if guesses:
                self.store.put(_guesses(number), json.dumps(guesses).encode())
            connection.execute(
                "UPDATE versions SET time = ?, step = ?, learning_rate = ?, random = ?, checkpoint = ?, digest = ?,"
                " progress = ? WHERE number = ?",
                (
                    _now(),
                    snapshot.step,
                    snapshot.learning_rate,
                    json.dumps(snapshot.random, sort_keys=True),
                    self.store.seal.close(snapshot.checkpoint, f"version {number}"),
                    snapshot.digest(),
                    json.dumps(progress),
                    number,
                ),
            )

    def settle(self, number: int, status: str, why: str, verdict: dict[str, Any] | None = None) -> None:
        """Sets what became of a version; any status but `accepted` deletes its checkpoint."""
        with self.store.transaction() as connection:
            stored = STORED.get(status, status)
            connection.execute("UPDATE versions SET status = ?, why = ? WHERE number = ?", (stored, why, number))
            if verdict is not None:
                connection.execute("UPDATE versions SET verdict = ? WHERE number = ?", (json.dumps(verdict), number))
            self.store.delete(_guesses(number))
            if status != "accepted":
                connection.execute("UPDATE versions SET checkpoint = NULL WHERE number = ?", (number,))

    def guesses(self, number: int) -> dict[int, int]:
        """Labels that an unfinished run gave, as saved. Raises Damaged."""
        saved = json.loads(self.store.get(_guesses(number)) or "{}")
        return {int(sample): label for sample, label in saved.items()}

    def lineage(self, number: int) -> list[Version]:
        """`number` and the versions it grew from, newest first, the base left out."""
        found = []
        while number != BASE:
            found.append(self.get(number))
            number = found[-1].parent
        return found

    def newest_intact(self, among: Collection[int]) -> int:
        """The newest accepted version of `among` whose checkpoint is sound; the base where there is none."""
        for version in reversed(self.all()):
            if version.number in among and version.status == "accepted":
                try:
                    self.snapshot(version.number)
                except Damaged as damage:
                    self.settle(version.number, "damaged", str(damage))
                    continue
                return version.number
        return BASE

    def prune(self, most: int) -> None:
        """Drops the checkpoints of the oldest accepted versions beyond `most`, never the current one's."""
        accepted = [one.number for one in self.all() if one.status == "accepted" and one.number != self.current]
        for number in accepted[: max(0, len(accepted) + 1 - most)]:
            self.settle(number, "pruned", f"the setting most_versions is {most}")


def identity_of(store: Store, version: Version) -> str:
    """Tells a version from any other, on each device that has it: the digest that it was first stored under."""
    came = version.verdict.get(IDENTITY)
    return str(came or store.rows("SELECT digest FROM versions WHERE number = ?", version.number)[0][0])


def unlabelled_in(version: Version) -> set[int]:
    """Samples that its run learnt from without a label of theirs."""
    return set(version.plan.get("unlabelled", ()))


def _guesses(number: int) -> str:
    return f"guesses of version {number}"


def _version(row: tuple[Any, ...]) -> Version:
    learned, plan, progress, verdict = (json.loads(text) for text in row[7:11])
    number, name, parent, stored, when, bundle, step = row[:7]
    return Version(
        number=number,
        name=name,
        parent=parent,
        status=STATUS.get(stored, stored),
        time=when,
        bundle=bundle,
        step=step,
        learned=tuple(learned),
        plan=plan,
        progress=progress,
        verdict=verdict,
        why=row[11],
    )


def _now() -> str:
    return time.strftime(CLOCK, time.gmtime())
