"""Milliseconds to augment a batch of 64, by configs/augment, beside those of a small mentee's step.

    python -m benchmarks.speed.augmentation [ROUNDS]

One thread, random pixels, fresh weights; interleaved rounds of plain torch steps and of batches drawn.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from distill.schema import DistillConfig
from mentee.networks import PlainCNN, ResidualCNN
from mentor_mentee.config.compose import compose
from mentor_mentee.data.batches import Draws, EpochBatches
from mentor_mentee.data.pools import Shuffled
from mentor_mentee.data.splits import Split
from mentor_mentee.data.views.augmentation import Augmentation

BATCH, BATCHES, SAMPLES = 64, 5, 640
PHOTOS = ["crop_flip", "photos", "randaugment", "trivialaugment"]
SHAPES: dict[tuple[int, int, int], tuple[type[nn.Module], list[list[str]]]] = {
    (1, 28, 28): (PlainCNN, [["augment=fashion"], ["augment=digits"], ["augment=digits", "trainer.augment.views=2"]]),
    (3, 32, 32): (
        ResidualCNN,
        [[f"augment={name}"] for name in PHOTOS] + [["augment=crop_flip", "trainer.augment.mix.cutmix=1"]],
    ),
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, batch {BATCH}, n = {rounds} rounds of {BATCHES} batches")
    print(f"{'samples':10}  {'what':48}  median ms  / step")
    for shape, (network, settings) in SHAPES.items():
        split = Split(torch.randint(0, 256, (SAMPLES, *shape), dtype=torch.uint8), torch.arange(SAMPLES) % 10)
        tasks = {"a step": stepper(network(shape[0], 10), split)}
        for given in settings:
            how = compose("distill", DistillConfig, [*given, "run_dir=unused"]).trainer.augment
            tasks[" ".join(given)] = drawer(split, how)
        milliseconds: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(rounds):
            for name, task in tasks.items():
                start = time.perf_counter()
                for _ in range(BATCHES):
                    task()
                milliseconds[name].append(1000 * (time.perf_counter() - start) / BATCHES)
        step = statistics.median(milliseconds["a step"])
        for name, values in milliseconds.items():
            found = statistics.median(values)
            print(f"{'x'.join(map(str, shape)):10}  {name:48}  {found:9.2f}  {found / step:6.2f}")


def stepper(network: nn.Module, split: Split) -> Callable[[], None]:
    optimizer, image_BCHW = torch.optim.AdamW(network.parameters()), split.images[torch.arange(BATCH)].float() / 255

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(network(image_BCHW), split.labels[:BATCH]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def drawer(split: Split, how: Augmentation) -> Callable[[], None]:
    """Batches of one epoch after the other; few views are remembered, as a training does."""
    draws = Draws(split, how, 1, remember=True)
    batches = EpochBatches([Shuffled(torch.arange(SAMPLES).numpy(), BATCH, (1,))], pairs=how.mix.active())
    waiting = iter(batches)

    def draw() -> None:
        nonlocal waiting
        drawn = next(waiting, None)
        if drawn is None:
            batches.set_epoch(batches.epoch + 1)
            waiting = iter(batches)
            drawn = next(waiting)
        draws.__getitems__(drawn)

    return draw


if __name__ == "__main__":
    main()
