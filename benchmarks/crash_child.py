"""What kills.py and power_cuts.py hit: `python crash_child.py BUNDLE FOLDER [--wait]`, on the device program alone."""

import sys
from pathlib import Path

import numpy as np
from mentee_device import Budget, Bundle, Owner, Progress, Samples


def learn_for_ever(bundle: Path, folder: Path, wait: bool) -> None:
    """With `wait` it reads a line after each acknowledgement before it goes on."""

    def say(*words: object) -> None:
        print(*words, flush=True)
        if wait and not sys.stdin.readline():
            sys.exit()

    opened = Bundle.open(bundle)
    print("begin", flush=True)
    with Owner(opened, folder) as owner:
        if wait:  # write the log back often, so that cuts meet that as well
            owner.store.rows("PRAGMA wal_autocheckpoint = 30")
        owner.set(golden_drop=1.0, most_samples=40)
        golden = opened.golden()
        generator = np.random.default_rng()
        for note in owner.notes:
            print("note", note, flush=True)

        def watch(progress: Progress) -> None:
            if progress.saved == owner.learner.step and progress.fraction < 1:
                candidate = max(version.number for version in owner.versions.all())
                say("saved", candidate, progress.done.steps)

        def tell(number: int) -> None:
            say("decided", number, owner.versions.current)

        say("open", owner.versions.current)
        if owner.paused is not None:
            tell(owner.resume(watch).number)
        while True:
            rows = generator.integers(0, len(golden), 3)
            noisy = golden.input[rows] ^ generator.integers(0, 2, golden.input[rows].shape, dtype=np.uint8)
            say("samples", *owner.add(Samples(noisy, golden.labels[rows])))
            tell(owner.learn(Budget(steps=int(generator.integers(2, 9))), save_every=2, batch=4, watch=watch).number)


if __name__ == "__main__":
    learn_for_ever(Path(sys.argv[1]), Path(sys.argv[2]), "--wait" in sys.argv[3:])
