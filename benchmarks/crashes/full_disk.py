"""Lets the disk be full at each point of each command that writes: a state is as before, or as after.

    python -m benchmarks.crashes.full_disk BUNDLE [--steps 24] [--space FOLDER]

No file may grow beyond a limit (RLIMIT_FSIZE), which is raised step by step from nothing to what the command takes. With
`--space`, a folder on a small file system of its own (a tmpfs, mounted for this), that is filled but for so much instead. Each
time the command runs on a copy of one state, in a process of its own. It must succeed or end in one line; afterwards, with space
again, the state must be what it was or what the command makes of it, and what is left to do must be done by then.
"""

import argparse
import random
import resource
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from mentee_device import Bundle, Owner

from benchmarks.crashes.lives import Life, held, lives, some
from benchmarks.crashes.states import Verdict, apart, command

VERBS = (
    *(["info"], ["add", "--data", "DATA"], ["learn", "--resume"], ["learn", "--discard", "--steps", "3"]),
    *(["unlearn", "--samples", "1"], ["unlearn", "--all"], ["reset"], ["rollback"], ["merge", "ARCHIVE"]),
    *(["export-state", "NEW"], ["import-state", "ARCHIVE"], ["enrol", "--name", "more", "--data", "DATA"], ["undo"]),
    *(["watch", "--start"], ["guess"], ["settings", "--set", "golden_drop=0.5"]),
)
KIB = 1024


def source(life: Life, words: list[str]) -> Path:
    """The state that a command runs on: of an unfinished run, or for what that forbids of before."""
    return life.before if words[0] in ("merge", "rollback") else life.folder


def tried(
    bundle: Bundle, place: Path, life: Life, words: list[str], files: dict[str, Path], room: int, space: Path | None
) -> Verdict:
    """One command with `room` bytes; ("done" or "refused", what it said), or what is wrong."""
    folder = (space or files["NEW"].parent) / "me"
    importing = words[0] == "import-state"
    if not importing:
        shutil.copytree(source(life, words), folder)
    files["NEW"] = folder.with_name("new")
    line = [words[0], "--bundle", place, "--state", folder, *(files.get(word, word) for word in words[1:])]
    ballast = folder.with_name("ballast")
    if space is not None:
        with ballast.open("wb") as filled:
            filled.write(bytes(max(0, shutil.disk_usage(space).free - room)))

    def run() -> Any:
        if space is None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return command(*line)

    done = apart(run)
    ballast.unlink(missing_ok=True)
    verdict = apart(lambda: _judged(bundle, life, folder, done, words))
    for path in (*folder.parent.glob(".*"), folder.with_name("new")):
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return verdict[0], verdict[1]


def _judged(bundle: Bundle, life: Life, folder: Path, done: Any, words: list[str]) -> Verdict:
    if isinstance(done[0], str):
        return done[0], str(done[1])
    code, _, said = done
    errors = [line for line in said.splitlines() if not line.startswith("note: ")]
    if code not in (0, 2) or len(errors) != (code == 2) or "Traceback" in said:
        return "not one line", said
    if code == 2 and words[0] == "import-state":
        left = sorted(path.name for path in folder.parent.iterdir() if path.name not in ("archive", "data.npz"))
        return (
            ("left over", str(left))
            if folder.exists() or any(name.startswith(".") for name in left)
            else ("refused", said)
        )
    if words[0] == "export-state" and code == 2 and folder.with_name("new").exists():
        return "left over", "an export that is not whole"
    with Owner(bundle, folder, life.key) as owner:
        if owner.notes:
            return "notes", f"{owner.notes} after {said}"
        scrubbed = not owner.store.setting("scrub")
        after = {name: repr(value) for name, value in held(bundle, owner.store).items()}
    if not scrubbed:
        return "left to do", said
    return ("refused" if code else "done"), repr(after) + said


def swept(
    bundle: Bundle,
    place: Path,
    life: Life,
    files: dict[str, Path],
    commands: list[list[str]],
    steps: int,
    space: Path | None,
) -> Counter[str]:
    """All commands, each with ever more room; how they ended."""
    counts: Counter[str] = Counter()
    biggest = max(path.stat().st_size for path in life.folder.iterdir())
    befores = {folder: _opened(bundle, life, folder, files) for folder in (life.before, life.folder)}
    for words in commands:
        before = befores[source(life, words)]
        for step in range(steps + 1):
            room = int(2 * biggest * (step / steps) ** 1.5) if step < steps else 1 << 24
            word, told = tried(bundle, place, life, words, dict(files), room, space)
            if (
                word == "refused"
                and words[0] not in ("import-state", "export-state")
                and not _either(before, told, words)
            ):
                word = "neither old nor new"
            counts[word] += 1
            if word not in ("done", "refused") or (step == steps and word != "done"):
                print(f"{' '.join(words)} with {room // KIB} KiB: {word}\n  {told[-1500:]}", flush=True)
    return counts


def _either(before: dict[str, Any], told: str, words: list[str]) -> bool:
    """Whether a command that was refused left what was, or said what it has done all the same."""
    after = told[: told.rindex("}") + 1]
    changed = [name for name, value in before.items() if f"{name!r}: {value!r}" not in after]
    said = told[len(after) :]
    kept = all(name.startswith(("sample", "version", "answers")) for name in changed)
    return not changed or ("gone" in said and kept) or words[0] == "learn"


def main() -> int:
    """Prints how the commands ended; 1 where one did as it must not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes.full_disk", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--space", type=Path, metavar="FOLDER")
    parser.add_argument("--commands", nargs="+", metavar="NAME", default=[], help="these alone")
    given = parser.parse_args()
    place = given.bundle.resolve()
    bundle = Bundle.open(place)
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        life = lives(bundle, scratch, random.Random(0))[0]
        samples = some(bundle, np.random.default_rng(1), 4)
        work = scratch / "work"
        work.mkdir()
        files = {"DATA": work / "data.npz", "ARCHIVE": work / "archive", "NEW": work / "new"}
        np.savez(files["DATA"], input=samples.input, labels=samples.labels)
        chosen = [words for words in VERBS if words[0] in given.commands or not given.commands]
        counts = swept(bundle, place, life, files, chosen, given.steps, given.space)
    print(f"{sum(counts.values())} commands: " + ", ".join(f"{number} {word}" for word, number in counts.most_common()))
    return 1 if counts.keys() - {"done", "refused"} else 0


def _opened(bundle: Bundle, life: Life, folder: Path, files: dict[str, Path]) -> dict[str, str]:
    """Reads the content of the state in `folder`, and exports it to ARCHIVE."""
    copied = files["NEW"].with_name("me")

    def look() -> dict[str, str]:
        with Owner(bundle, copied, life.key) as owner:
            owner.export_state(files["ARCHIVE"])
            return {name: repr(value) for name, value in held(bundle, owner.store).items()}

    shutil.copytree(folder, copied)
    found = apart(look)
    shutil.rmtree(copied)
    if not isinstance(found, dict):
        raise SystemExit(f"error: the state does not open: {found}")
    return found


if __name__ == "__main__":
    sys.exit(main())
