"""The demo's seeds, in as many processes as there are cores: first the mentees, then for each seed the device."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console

from demo.device import OnDevice, on_the_device
from demo.mentees import EXPORTED, TrainedMentee, arms, cached, figures_key, train
from demo.owner import People
from distill.mentors.find import FoundMentor
from distill.schema import DistillConfig
from mentor_mentee.errors import UserError

Key = TypeVar("Key")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Outcome:
    """All figures of one seed."""

    mentees: dict[str, TrainedMentee]  # by arm
    device: OnDevice

    def accuracy(self, arm: str, who: str) -> float:
        return self.mentees[arm].accuracy[who] if arm in self.mentees else self.device.accuracy[arm][who]

    def milliseconds(self, arm: str) -> float:
        return self.mentees[arm].milliseconds if arm in self.mentees else self.device.milliseconds[arm]


def run_seeds(
    configs: Sequence[DistillConfig], found: FoundMentor, people: People, python: Path, console: Console
) -> list[Outcome]:
    """Trains what was not trained before with this very code and these settings; the device learns anew each time."""
    code = figures_key(found, configs[0])
    runs = {(config.seed, arm): settings for config in configs for arm, settings in arms(config).items()}
    keys = {name: sha256(f"{code}{asdict(settings)}".encode()).hexdigest() for name, settings in runs.items()}
    mentees = {name: one for name, settings in runs.items() if (one := cached(settings, keys[name]))}
    if mentees:
        console.print(
            f"{len(mentees)} of {len(runs)} mentees are cached by an earlier run", highlight=False, soft_wrap=True
        )
    with workers(len(configs)) as pool:
        training = {
            pool.submit(train, settings, found, people, keys[name]): name
            for name, settings in runs.items()
            if name not in mentees
        }

        def say_trained(name: tuple[int, str], one: TrainedMentee) -> None:
            seed, arm = name
            seen = f"right on {one.accuracy['everybody']:.1%} of everybody's"
            console.print(f"seed {seed}, {arm.replace('_', ' + ')}: {seen}", highlight=False, soft_wrap=True)

        mentees |= gathered(training, say_trained)
        learning = {
            pool.submit(on_the_device, runs[seed, EXPORTED], people, python, keys[seed, EXPORTED]): seed
            for seed in (config.seed for config in configs)
        }

        def say_learned(seed: int, one: OnDevice) -> None:
            bundle = "the bundle is cached" if one.cached_bundle else "exported and compared with torch"
            console.print(
                f"seed {seed}: {bundle}; learned on the device, in its own process", highlight=False, soft_wrap=True
            )

        devices = gathered(learning, say_learned)
    return [
        Outcome({arm: mentees[config.seed, arm] for arm in arms(config)}, devices[config.seed]) for config in configs
    ]


@contextmanager
def workers(most: int) -> Iterator[Executor]:
    """A pool of at most `most` processes and no more than there are cores. Where the block raises, what waits is dropped."""
    pool = ProcessPoolExecutor(min(most, os.cpu_count() or 1), get_context("spawn"), initializer=be_a_worker)
    try:
        yield pool
    except BrokenProcessPool:
        raise UserError(
            "a process of the demo was killed (is the memory full?); what was finished is cached: run the demo again, with "
            "--seeds 1 for one process at a time"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def be_a_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it at once; the first process says what is left
    torch.set_num_threads(1)


def gathered(futures: Mapping[Future[Found], Key], say: Callable[[Key, Found], None]) -> dict[Key, Found]:
    found = {}
    for future in as_completed(futures):
        found[futures[future]] = future.result()
        say(futures[future], found[futures[future]])
    return found
