"""Damages states of owners at random, opens and uses them, and counts crashes, hangs, tracebacks and silent losses.

    python -m benchmarks.crashes.states BUNDLE [--mutants 1000] [--seed 0] [--only N]

States that were closed, killed by SIGKILL, and sealed under a key are made first. Each mutant is a copy of one with one file
damaged (eight in ten), with two, with an older file in place of one, or an archive of `export-state` that was damaged
and is imported or merged. On each, in a process of its own: `info`, `versions`, `log`, `predict`, `learn`, `add`, `export-state`;
after the first and the last all that the state had held is looked for. Of a bundle for both backends the states are made, and the
mutants used, on either. `--only N` makes mutant N of that seed again, alone.

ok: all is there, and nothing was said. restored: all is there, and a note says what came back. noted: something is gone, and a
note says so; with one damaged file that is a failure, since the other copy has it. refused: one line, and the folder as it was.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import random
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Bundle, Owner, StateError
from mentee_device.cli.main import answer
from mentee_device.state.storage.store import Store

from benchmarks.crashes.lives import Life, held, lives, missing, some
from benchmarks.crashes.mutants.states import ON_DATABASE, damage, of_bytes, of_length, older

BOUND = 60.0  # seconds of one mutant
GOOD = ("ok", "restored", "noted", "refused")
Verdict = tuple[str, str]  # a word, and what there is to say


def apart(work: Callable[[], Any], seconds: float = BOUND) -> Verdict | Any:
    """Runs `work` in a child process and returns its result; a verdict where the child crashes or hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            found = work()
        except BaseException:
            found = ("traceback", traceback.format_exc())
        with os.fdopen(writing, "w") as end:
            end.write(json.dumps(found))
        os._exit(0)
    os.close(writing)
    said, deadline = b"", time.monotonic() + seconds
    with os.fdopen(reading, "rb", buffering=0) as end:
        while left := max(0.0, deadline - time.monotonic()):
            if not select.select([end], [], [], left)[0]:
                continue
            if not (more := end.read(1 << 16)):
                break
            said += more
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang", f"no end after {seconds:g} s"
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) or not said:
        return "crash", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no word"
    return json.loads(said)


def command(*words: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of one command of `mentee-device`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = answer([str(word) for word in words])
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


class Trial:
    """One mutant of `life`, worked on at `folder`. `before`: what the state held; `files`: how many are damaged."""

    def __init__(self, bundle: Bundle, life: Life, common: list[object], folder: Path, files: int, data: Path) -> None:
        self._bundle, self._life, self._folder, self._files = bundle, life, folder, files
        self._common = [*common, "--state", folder]
        self._data = data
        self._notes: list[str] = []

    def run(self, before: dict[str, Any]) -> Verdict:
        """Uses it as an owner would."""
        untouched = contents(self._folder)
        code, _, said = command("info", *self._common)
        self._hear(said)
        if code:
            return self._refused(said, untouched)
        gone = missing(before, self._held())
        looks = (
            ["versions"],
            ["log"],
            ["predict", "--data", self._data],
            ["guess"],
            ["recognise", "--data", self._data],
        )
        for words in (looks[len(gone or before) % 5], ["learn", "--resume"], ["learn", "--steps", 2]):
            self._say(*words)
        self._say("add", "--data", self._data)
        exported = self._folder.with_name("exported")
        self._say("export-state", exported)
        after = self._held()
        gone += [name for name in missing(before, after) if name.startswith(("sample", "line"))]
        if not exported.is_file() and not gone:
            return "failed", f"nothing was exported: {self._notes}"
        if worse := behind(self._folder):
            return "backup worse", worse
        return self._judged(sorted(set(gone)))

    def _judged(self, gone: list[str]) -> Verdict:
        told = f"{', '.join(gone[:6])} | {' | '.join(self._notes)}"
        if gone and not self._notes:
            return "silent", told
        if gone and self._files == 1:
            return "lost", told
        return ("noted" if gone else "restored" if self._notes else "ok"), told

    def _say(self, *words: object) -> None:
        code, _, said = command(words[0], *self._common, *words[1:])
        if code not in (0, 2) or (code == 2 and said.count("\n") != said.count("note: ") + 1):
            raise AssertionError(f"{words[0]}: {code} {said}")
        self._hear(said)

    def _hear(self, said: str) -> None:
        self._notes += [line for line in said.splitlines() if line.startswith("note: ")]

    def _held(self) -> dict[str, Any]:
        with Store(self._folder, self._bundle.manifest.id, self._life.key) as store:
            self._notes += [note for note in store.notes if f"note: {note}" not in self._notes]
            return held(self._bundle, store)

    def _refused(self, said: str, untouched: set[str]) -> Verdict:
        if said.count("\n") != said.count("note: ") + 1 or "error: " not in said:
            return "not one line", said
        if untouched - contents(self._folder):
            return "refused and changed", said
        return "refused", said.partition("error: ")[2].strip()


def contents(folder: Path) -> set[str]:
    """Digests of what its databases hold, logs of writes applied; of one that cannot be read, of its bytes."""
    found = set()
    for path in folder.glob("*.sqlite"):
        with tempfile.TemporaryDirectory() as scratch:
            for side in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(f"{path}{side}", f"{scratch}/copy{side}")
            try:
                with contextlib.closing(sqlite3.connect(f"{scratch}/copy")) as connection:
                    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
                    found.add(sha256(repr([*connection.iterdump()]).encode()).hexdigest())
            except (sqlite3.Error, TypeError, UnicodeError):
                found.add(sha256(path.read_bytes()).hexdigest())
    return found


def behind(folder: Path) -> str:
    """Compares the backup with the closed state: a line where they differ, else ""."""
    rows = []
    for name in ("state.sqlite", "backup.sqlite"):
        with contextlib.closing(sqlite3.connect(folder / name)) as connection:
            queries = ("SELECT * FROM samples", "SELECT * FROM versions", "SELECT * FROM blobs", "SELECT * FROM state")
            rows.append([set(connection.execute(query)) for query in queries])
    return "" if rows[0] == rows[1] else "the backup does not hold what the state does"


def mutant(
    bundle: Bundle,
    place: Path,
    all_lives: list[tuple[Life, dict[str, Any]]],
    data: Path,
    scratch: Path,
    chance: random.Random,
    backend: str,
) -> tuple[str, Verdict]:
    """Makes one mutant and tries it on a backend; (what was done, verdict)."""
    life, before = chance.choice(all_lives)
    common: list[object] = ["--bundle", place, "--backend", backend]
    common += ["--key-file", life.key_file] if life.key_file else []
    folder = scratch / "me"
    shutil.copytree(life.folder, folder)
    kind = chance.random()
    if kind < 0.12:
        return archive(bundle, common, life, before, folder, chance)
    if kind < 0.17:
        what, files = older(folder, chance, life.before), 1
    else:
        what, files = damage(folder, chance), 1
        if kind > 0.9:
            what, files = f"{what}; {damage(folder, chance)}", 2
    trial = Trial(bundle, life, common, folder, files, data)
    return f"{life.name}: {what}", apart(lambda: trial.run(before))


def archive(
    bundle: Bundle, common: list[object], life: Life, before: dict[str, Any], folder: Path, chance: random.Random
) -> tuple[str, Verdict]:
    """A damaged file of `export-state`, imported into a new folder or merged into the state it came from."""
    file, verb = folder.with_name("archive"), chance.choice(("import-state", "merge"))
    made = apart(lambda: command("export-state", *common, "--state", folder, file))
    if made[0] != 0:
        return f"{life.name}: an archive", ("failed", str(made))
    what = damage_archive(file, chance)
    target = folder if verb == "merge" else folder.with_name("new")

    def use() -> Verdict:
        code, _, said = command(verb, *common, "--state", target, file)
        if code == 0 or verb == "merge":
            with Owner(bundle, target, life.key) as owner:
                gone = [name for name in missing(before, held(bundle, owner.store)) if name.startswith("sample")]
                said += "".join(owner.notes) + "".join(entry.line for entry in owner.log() if entry.event == "recovery")
            if gone and (verb == "merge" or not said):
                return "silent", f"{gone} {said}"
        left = sorted(path.name for path in folder.parent.iterdir() if path.name.startswith("."))
        if left:
            return "left over", str(left)
        if code not in (0, 2) or (
            code == 2 and (said.count("error: ") != 1 or "\n" in said.partition("error: ")[2].strip())
        ):
            return "not one line", said
        return ("refused" if code else "noted" if said else "ok"), said.strip()

    return f"{life.name}: {verb} of {what}", apart(use)


def damage_archive(file: Path, chance: random.Random) -> str:
    """Bytes, its length, its first line, or its database with the sums made right again."""
    kind = chance.choice(("bytes", "length", "head", "inside", "inside", "inside"))
    if kind == "bytes":
        return of_bytes(file, chance)
    if kind == "length":
        return of_length(file, chance)
    line, _, body = file.read_bytes().partition(b"\n")
    head = json.loads(line)
    what = "its head"
    if kind == "head":
        name = chance.choice(sorted(head))
        head[name] = chance.choice((None, "x", -1, 10**400, [], {}, "\ud800", "mentee-state/2"))
        what = f"its head: {name} = {str(head[name])[:20]!r}"
    else:
        inside = file.with_name("inside.sqlite")
        inside.write_bytes(body)
        what = chance.choice(ON_DATABASE)(inside, chance)
        body = inside.read_bytes() if inside.exists() else b""
        for path in file.parent.glob("inside.sqlite*"):
            path.unlink()
        head |= {"bytes": len(body), "sha256": sha256(body).hexdigest()}
    file.write_bytes(json.dumps(head).encode() + b"\n" + body)
    return what


def main() -> int:
    """Makes all mutants and prints what became of them; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes.states", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="N", help="this mutant alone, with all that was said of it")
    given = parser.parse_args()
    place = given.bundle.resolve()
    bundle, began = Bundle.open(place), time.monotonic()
    print(
        f"{platform.system()} {platform.release()}, SQLite {sqlite3.sqlite_version}, bundle {bundle.manifest.id[:12]}"
    )
    print(f"python -m benchmarks.crashes.states {' '.join(sys.argv[1:])}\n", flush=True)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        found = [(life, _before(bundle, life, scratch)) for life in lives(bundle, scratch, random.Random(given.seed))]
        data = scratch / "data.npz"
        samples = some(bundle, np.random.default_rng(given.seed), 4)
        np.savez(data, input=samples.input, labels=samples.labels)
        for number in range(given.mutants) if given.only is None else [given.only]:
            place_of_one = scratch / "one"
            place_of_one.mkdir()
            chance = random.Random(f"{given.seed} {number}")
            backend = bundle.manifest.backends[number % len(bundle.manifest.backends)]
            what, (word, told) = mutant(bundle, place, found, data, place_of_one, chance, backend)
            shutil.rmtree(place_of_one)
            counts[word] += 1
            if word not in GOOD or given.only is not None:
                print(f"mutant {number}: {word}\n  {what}\n  {told}", flush=True)
    words = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    print(f"{sum(counts.values())} mutants, {time.monotonic() - began:.0f} s: {words}")
    failed = sum(number for word, number in counts.items() if word not in GOOD)
    print(f"failures: {failed}")
    return 1 if failed else 0


def _before(bundle: Bundle, life: Life, scratch: Path) -> dict[str, Any]:
    """Reads the content of the undamaged state from a copy of it, as `held` gives it."""

    def look() -> dict[str, Any]:
        shutil.copytree(life.folder, scratch / "look")
        with Store(scratch / "look", bundle.manifest.id, life.key) as store:
            if store.notes:
                raise StateError(str(store.notes))
            return {name: repr(value) for name, value in held(bundle, store).items()}

    found = apart(look)
    shutil.rmtree(scratch / "look")
    if not isinstance(found, dict):
        raise SystemExit(f"error: the state that is {life.name} does not open: {found}")
    return found


if __name__ == "__main__":
    sys.exit(main())
