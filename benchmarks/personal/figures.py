"""The table and the plot of the personalisation benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Run(NamedTuple):
    """One arm on one draw of an owner's labels; accuracies, shares, are the owner's and everybody else's."""

    owner: str
    arm: str
    labels: int  # a class
    draw: int
    before: tuple[float, float]
    after: tuple[float, float]
    seconds: float
    peak_mib: float

    @property
    def gain(self) -> float:
        """Points for the owner."""
        return 100 * (self.after[0] - self.before[0])

    @property
    def change(self) -> float:
        """Points for everybody else."""
        return 100 * (self.after[1] - self.before[1])


def table(runs: Sequence[Run], labels: Sequence[int], arms: Sequence[str]) -> str:
    """Markdown; an owner is hurt where the mean over the draws is below untouched."""
    first = {(run.owner, run.draw): run for run in runs}.values()
    lines = [
        f"untouched: owner {spread([100 * run.before[0] for run in first], '.1f')} %, everybody else "
        f"{spread([100 * run.before[1] for run in first], '.1f')} %; points against it:",
        "",
        "| labels a class | arm | owner, points | everybody else | owner then, % | owners hurt | runs hurt | CPU s | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for k in labels:
        for arm in arms:
            some = [run for run in runs if run.labels == k and run.arm == arm]
            lines += [row(k, arm, some)] if some else []
    return "\n".join(lines)


def row(k: int, arm: str, runs: Sequence[Run]) -> str:
    owners = sorted({run.owner for run in runs})
    hurt = [owner for owner in owners if np.mean([run.gain for run in runs if run.owner == owner]) < 0]
    cells = [
        str(k),
        arm,
        spread([run.gain for run in runs], "+.1f"),
        spread([run.change for run in runs], "+.2f"),
        f"{100 * np.mean([run.after[0] for run in runs]):.1f}",
        f"{len(hurt)} of {len(owners)}",
        f"{sum(run.gain < 0 for run in runs)} of {len(runs)}",
        f"{np.median([run.seconds for run in runs]):.2f}",
        f"{max(run.peak_mib for run in runs):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float], form: str) -> str:
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1 if len(values) > 1 else 0):{form.lstrip('+')}}"


def plot(runs: Sequence[Run], arms: Sequence[str], path: Path) -> None:
    """The owner's gain against everybody else's change, one panel for each number of labels."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    numbers = sorted({run.labels for run in runs})
    figure, axes = plt.subplots(1, len(numbers), figsize=(4 * len(numbers) + 3, 4.5), squeeze=False, sharey=True)
    colours = plt.get_cmap("tab20")
    for axis, k in zip(axes[0], numbers, strict=True):
        for i, arm in enumerate(arms):
            some = [run for run in runs if run.labels == k and run.arm == arm]
            if some:
                change, gain = ([getattr(run, name) for run in some] for name in ("change", "gain"))
                axis.errorbar(
                    np.mean(change),
                    np.mean(gain),
                    xerr=np.std(change) / len(some) ** 0.5,
                    yerr=np.std(gain) / len(some) ** 0.5,
                    fmt="o" if i < 10 else "s",
                    color=colours(i % 20),
                    label=arm,
                )
        axis.axvline(0, color="grey", linewidth=0.5)
        axis.axhline(0, color="grey", linewidth=0.5)
        axis.set_title(f"{k} labels a class")
        axis.set_xlabel("everybody else, points")
    axes[0, 0].set_ylabel("owner, points against untouched")
    handles = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="center right", fontsize=7)
    figure.tight_layout(rect=(0, 0, 1 - 2.6 / figure.get_figwidth(), 1))
    figure.savefig(path, dpi=120)
    plt.close(figure)
