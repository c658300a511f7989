"""Pictures of a run, drawn without a display. Axes of matrices: K classes."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from textwrap import wrap

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from distill.report.comparison import Difference, Spread
from distill.schedules import SYMBOLS, Schedule
from mentor_mentee.objective.loss_spec import LossSpec

Rows = Sequence[Mapping[str, float]]  # a run's history, a row an epoch
DPI = 110
LABEL_WIDTH = 36  # characters of an arm beside its bar
DEFAULT = LossSpec()


def draw_terms(history: Rows, path: Path, spec: LossSpec = DEFAULT) -> None:
    """The loss, its label and its softmax term by epoch, training solid and validation dashed, on a logarithmic scale."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(["loss", *spec.term_names(())]):
        plot_both(axes, history, name, name, f"C{i}")
    axes.set(
        xlabel="epoch", ylabel="mean over the epoch", yscale="log", title="Loss and its terms (dashed: validation)"
    )
    axes.legend()
    save(figure, path)


def draw_probes(history: Rows, path: Path, spec: LossSpec = DEFAULT) -> None:
    """Distance to the mentor at each probe by epoch."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    prefix = f"{spec.probe}_"
    probes = [name.removeprefix("train_") for name in history[0] if name.startswith(f"train_{prefix}")]
    for i, name in enumerate(probes):
        plot_both(axes, history, name, name.removeprefix(prefix), f"C{i}")
    distance = f"{spec.probe.upper()} to the mentor"
    axes.set(xlabel="epoch", ylabel=distance, title="Probes (dashed: validation)", ylim=(0, None))
    if probes:
        axes.legend()
    save(figure, path)


def draw_accuracy(curves: Mapping[str, Rows], path: Path, mentor: float | None = None) -> None:
    """Validation accuracy by epoch of each named run, and the mentor's as a line."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for i, (name, history) in enumerate(curves.items()):
        axes.plot(
            [row["epoch"] + 1 for row in history], [100 * row["val_accuracy"] for row in history], f"C{i}", label=name
        )
    if mentor is not None:
        axes.axhline(100 * mentor, color="0.5", linestyle=":", label="mentor")
    axes.set(xlabel="epoch", ylabel="validation accuracy, %", title="Accuracy")
    axes.legend()
    save(figure, path)


def draw_knobs(schedule: Schedule, epochs: int, path: Path) -> None:
    """α, β, γ, and below them the temperature, at every moment of a run of so many epochs: known before it begins."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    weights, temperature = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for i, (name, label) in enumerate(SYMBOLS.items()):
        points = getattr(schedule, name)
        curve = [(0.0, points[0][1]), *points, (1.0, points[-1][1])]
        axes = temperature if name == "temperature" else weights
        axes.plot([epochs * x for x, _ in curve], [value for _, value in curve], f"C{i}", label=label)
    weights.set(title="Obedience: the weights over time", ylim=(0, None))
    weights.legend(ncols=3)
    temperature.set(xlabel="epoch", ylabel="T", ylim=(0, None))
    save(figure, path)


def draw_confusions(matrices: Mapping[str, Tensor], classes: Sequence[str], path: Path) -> None:
    """int64 [K, K] each, rows the true class: as shares of the row, side by side."""
    figure = Figure(figsize=(4.6 * len(matrices), 4.4), layout="constrained")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (name, matrix_KK) in zip(panels, matrices.items(), strict=True):
        share_KK = matrix_KK / matrix_KK.sum(1, keepdim=True).clamp(min=1)
        axes.imshow(share_KK.numpy(), vmin=0, vmax=1, cmap="Blues")
        if len(classes) <= 12:
            for i, row in enumerate(matrix_KK.tolist()):
                for j, count in enumerate(row):
                    if count:
                        dark = share_KK[i, j] > 0.5
                        axes.text(j, i, count, ha="center", va="center", fontsize=7, color="white" if dark else "0.2")
            axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 2 else 0)
            axes.set_yticks(range(len(classes)), classes)
        accuracy = matrix_KK.diagonal().sum() / matrix_KK.sum().clamp(min=1)
        axes.set(xlabel="predicted", ylabel="true", title=f"{name} ({accuracy:.1%})")
    save(figure, path)


def draw_comparison(accuracies: Mapping[str, Sequence[float]], gains: Mapping[str, Difference], path: Path) -> None:
    """Accuracies (0 to 1) of each arm's runs with mean ± std; beside it, where there are any, the paired gains in points."""
    columns = 2 if gains else 1
    labels = ["\n".join(wrap(label, LABEL_WIDTH)) for label in accuracies]
    lines = sum(max(3, 1 + label.count("\n")) for label in labels)
    figure = Figure(figsize=(5.5 * columns, 1.2 + lines / 6), layout="constrained")
    left, *right = figure.subplots(1, columns, squeeze=False, sharey=True)[0]
    for row, (label, values) in enumerate(accuracies.items()):
        spread = Spread.of([100 * value for value in values])
        left.plot([100 * value for value in values], [row] * len(values), "o", color=f"C{row}", alpha=0.35)
        left.errorbar(spread.mean, row, xerr=spread.std, fmt="|", color=f"C{row}", markersize=14, capsize=4)
        for axes in right if label in gains else []:
            gain = gains[label]
            half = 100 * (gain.high - gain.mean) if gain.high is not None else None
            axes.errorbar(100 * gain.mean, row, xerr=half, fmt="o", color=f"C{row}", capsize=4)
    left.set_yticks(range(len(accuracies)), labels)
    left.set(xlabel="test accuracy, % (mean ± std)", ylim=(len(accuracies) - 0.5, -0.5))
    for axes in right:
        axes.axvline(0, color="0.5", linestyle=":")
        axes.set(xlabel="over the lone mentee, points (paired, 95 %)")
    save(figure, path)


def plot_both(axes, history: Rows, name: str, label: str, color: str) -> None:  # type: ignore[no-untyped-def]
    """A term is exactly 0 where there was nothing to compare with (a stage without the mentor): a gap in the curve."""
    epochs = [row["epoch"] + 1 for row in history]
    axes.plot(epochs, [row[f"train_{name}"] or nan for row in history], color, label=label)
    if f"val_{name}" in history[0]:
        axes.plot(epochs, [row[f"val_{name}"] or nan for row in history], color, linestyle="--", alpha=0.7)


def save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        if axes.get_xlabel() == "epoch":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=DPI)
