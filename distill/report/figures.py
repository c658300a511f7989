"""Pictures of a run, drawn without a display. Axes of matrices: K classes."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from distill.curves import SYMBOLS, Schedule
from distill.report.comparison import Difference, Spread
from mentor_mentee.objective.loss_spec import LossSpec

Rows = Sequence[Mapping[str, float]]  # a run's history, a row an epoch
SIZE = (5.0, 3.3)  # inches: 800 pixels wide, and legible at half of that
DPI = 160
LABEL_WIDTH = 24  # characters of an arm beside its bar
NAME_WIDTH = 16  # characters of a class's name
MOST_CLASSES = 30  # of which a matrix is drawn
CONFUSIONS = 15  # that are listed of more classes
KNOB_COLOURS = ("C0", "C1", "k", "C3")
DEFAULT = LossSpec()


def draw_terms(history: Rows, path: Path, spec: LossSpec = DEFAULT) -> None:
    """The loss, its label and its softmax term by epoch, training solid and validation dashed, on a logarithmic scale."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(["loss", *spec.term_names(())]):
        if f"train_{name}" in history[0]:
            plot_both(axes, history, name, name, f"C{i}")
    axes.set(
        xlabel="epoch", ylabel="mean over the epoch", yscale="log", title="Loss and its terms (dashed: validation)"
    )
    axes.legend()
    save(figure, path)


def draw_probes(history: Rows, path: Path, spec: LossSpec = DEFAULT) -> None:
    """Distance to the mentor at each probe by epoch."""
    figure = Figure(figsize=SIZE, layout="constrained")
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
    """Validation accuracy by epoch of each named run, and the mentor's as a line. Many names stand below the curves."""
    many = len(curves) > 2
    figure = Figure(figsize=(SIZE[0], SIZE[1] + 0.2 * len(curves) * many), layout="constrained")
    axes = figure.subplots()
    for i, (name, history) in enumerate(curves.items()):
        axes.plot(
            [row["epoch"] + 1 for row in history], [100 * row["val_accuracy"] for row in history], f"C{i}", label=name
        )
    if mentor is not None:
        axes.axhline(100 * mentor, color="0.5", linestyle=":", label="mentor")
    axes.set(xlabel="epoch", ylabel="validation accuracy, %", title="Accuracy")
    if many:
        figure.legend(loc="outside lower left", fontsize=9)
    else:
        axes.legend()
    save(figure, path)


def draw_knobs(schedule: Schedule, epochs: int, path: Path) -> None:
    """α, β, γ, and below them the temperature, at every moment of a run of so many epochs: known before it begins.

    Each weight's line is narrower than the one before it and dashed in its own way, so that equal ones are seen as several.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    weights, temperature = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    looks = {"alpha": ("-", 6.0), "beta": ("-", 3.5), "gamma": ((0, (4, 3)), 2.0), "temperature": ("-", 2.0)}
    for i, (name, label) in enumerate(SYMBOLS.items()):
        points = getattr(schedule, name)
        curve = [(0.0, points[0][1]), *points, (1.0, points[-1][1])]
        axes = temperature if name == "temperature" else weights
        style, width = looks[name]
        at, values = [epochs * x for x, _ in curve], [value for _, value in curve]
        axes.plot(at, values, color=KNOB_COLOURS[i], linestyle=style, linewidth=width, label=label)
    weights.set(title="Obedience: the weights over time", ylim=(0, None))
    weights.margins(y=0.12)
    weights.set_ylim(bottom=0)
    weights.legend(ncols=3, handlelength=3.5)
    temperature.set(xlabel="epoch", ylabel="T", ylim=(0, None))
    save(figure, path)


def draw_confusions(matrices: Mapping[str, Tensor], classes: Sequence[str], path: Path) -> None:
    """int64 [K, K] each, rows the true class, one below the other: as shares of the row, or of many classes the most
    frequent confusions."""
    names = [name if len(name) <= NAME_WIDTH else f"{name[: NAME_WIDTH - 1]}…" for name in classes]
    whole = len(classes) <= MOST_CLASSES
    figure = Figure(figsize=(SIZE[0], (4.6 if whole else 4.0) * len(matrices)), layout="constrained")
    panels = figure.subplots(len(matrices), 1, squeeze=False)[:, 0]
    for axes, (name, matrix_KK) in zip(panels, matrices.items(), strict=True):
        (draw_matrix if whole else draw_most_confused)(axes, matrix_KK, names)
        accuracy = matrix_KK.diagonal().sum() / matrix_KK.sum().clamp(min=1)
        axes.set_title(f"{name} ({accuracy:.1%})")
    save(figure, path)


def draw_matrix(axes: Axes, matrix_KK: Tensor, names: Sequence[str]) -> None:
    share_KK = matrix_KK / matrix_KK.sum(1, keepdim=True).clamp(min=1)
    axes.imshow(share_KK.numpy(), vmin=0, vmax=1, cmap="Blues")
    for i, row in enumerate(matrix_KK.tolist() if len(names) <= 12 else ()):
        for j, count in enumerate(row):
            if count:
                dark = share_KK[i, j] > 0.5
                axes.text(j, i, count, ha="center", va="center", fontsize=8, color="white" if dark else "0.2")
    font = 10 if len(names) <= 15 else 7.5
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=font)
    axes.set_yticks(range(len(names)), names, fontsize=font)
    axes.set(xlabel="predicted", ylabel="true")


def draw_most_confused(axes: Axes, matrix_KK: Tensor, names: Sequence[str]) -> None:
    pairs = most_confused(matrix_KK)
    labels = [f"{names[true]} → {names[taken]}" for true, taken, _ in pairs]
    counts = [count for _, _, count in pairs]
    axes.barh(range(len(pairs)), counts, color="C0")
    axes.set_yticks(range(len(pairs)), labels, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(f"samples; the {len(pairs)} most frequent confusions" if pairs else "no sample was confused")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def most_confused(matrix_KK: Tensor) -> list[tuple[int, int, int]]:
    """(true class, predicted class, samples) of the most frequent mistakes, at most `CONFUSIONS` of them."""
    wrong_KK = matrix_KK.clone().fill_diagonal_(0)
    counts, places = wrong_KK.flatten().sort(descending=True, stable=True)
    found = zip(places[:CONFUSIONS].tolist(), counts[:CONFUSIONS].tolist(), strict=True)
    return [(*divmod(place, len(matrix_KK)), count) for place, count in found if count]


def draw_comparison(accuracies: Mapping[str, Sequence[float]], gains: Mapping[str, Difference], path: Path) -> None:
    """Accuracies (0 to 1) of each arm's runs with mean ± std; below it, where there are any, the paired gains in points."""
    panels = 2 if gains else 1
    labels = ["\n".join(wrap(label, LABEL_WIDTH)) for label in accuracies]
    lines = sum(max(2, 1 + label.count("\n")) for label in labels)
    figure = Figure(figsize=(SIZE[0], panels * (0.9 + lines / 5.5)), layout="constrained")
    first, *second = figure.subplots(panels, 1, squeeze=False, sharey=True)[:, 0]
    for row, (label, values) in enumerate(accuracies.items()):
        spread = Spread.of([100 * value for value in values])
        first.plot([100 * value for value in values], [row] * len(values), "o", color=f"C{row}", alpha=0.35)
        first.errorbar(spread.mean, row, xerr=spread.std, fmt="|", color=f"C{row}", markersize=14, capsize=4)
        for axes in second if label in gains else []:
            gain = gains[label]
            half = 100 * (gain.high - gain.mean) if gain.high is not None else None
            axes.errorbar(100 * gain.mean, row, xerr=half, fmt="o", color=f"C{row}", capsize=4)
    first.set(xlabel="test accuracy, % (mean ± std)", ylim=(len(accuracies) - 0.5, -0.5))
    for axes in (first, *second):
        axes.set_yticks(range(len(accuracies)), labels)
    for axes in second:
        axes.axvline(0, color="0.5", linestyle=":")
        axes.set(xlabel="over the lone mentee, points (paired, 95 %)")
    save(figure, path)


def plot_both(axes: Axes, history: Rows, name: str, label: str, color: str) -> None:
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
