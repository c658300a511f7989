"""Process that kills.py and power_cuts.py hit: `python victim.py BUNDLE FOLDER`, on the device program alone."""

import argparse
import itertools
from pathlib import Path

import numpy as np
from mentee_device import Budget, Bundle, Owner, Plan, Progress, Samples


def learn(bundle: Path, folder: Path, turns: int | None, log_pages: int | None, backend: str | None) -> None:
    """Learns without end, or for so many turns; the log is written back to the database after so many pages."""

    def say(*words: object) -> None:
        print(*words, flush=True)

    opened = Bundle.open(bundle)
    print("begin", flush=True)
    with Owner(opened, folder, backend=backend) as owner:
        if log_pages is not None:
            owner.store._connection.write_back_after(log_pages)
        owner.set(golden_drop=1.0, most_samples=40)
        golden = opened.golden()
        generator = np.random.default_rng()
        for note in owner.notes:
            print("note", note, flush=True)

        def on_progress(progress: Progress) -> None:
            if progress.saved == owner.learner.step and progress.fraction < 1:
                candidate = max(version.number for version in owner.versions.all())
                say("saved", candidate, progress.done.steps)

        def tell(number: int) -> None:
            say("decided", number, owner.versions.current)

        say("open", owner.versions.current)
        if owner.paused is not None:
            tell(owner.resume(on_progress=on_progress).number)
        for _ in itertools.count() if turns is None else range(turns):
            rows = generator.integers(0, len(golden), 3)
            noisy = golden.input[rows] ^ generator.integers(0, 2, golden.input[rows].shape, dtype=np.uint8)
            say("samples", *owner.add(Samples(noisy, golden.labels[rows])))
            tell(
                owner.learn(
                    Plan(budget=Budget(steps=int(generator.integers(2, 9))), save_every=2, batch=4),
                    on_progress=on_progress,
                ).number
            )
            if generator.random() < 0.1:
                gone = [int(generator.choice([one.number for one in owner.samples.all()][-6:]))]
                say("undoing", *gone)
                say("undone", owner.unlearn(gone).current, *gone)
            elif generator.random() < 0.1 and owner.versions.current:
                say("undoing")
                say("undone", owner.roll_back())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--turns", type=int)
    parser.add_argument("--log-pages", type=int)
    parser.add_argument("--backend")
    learn(**vars(parser.parse_args()))
