"""The demo's one table, its figures and its report."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from demo.device import LEARNING
from demo.mentees import EXPORTED
from demo.owner import PEN, SLANT
from demo.seeds import Outcome
from distill.curves import Schedule
from distill.report.figures import draw_accuracy, draw_confusions, draw_knobs, draw_probes, draw_terms, save
from distill.report.page import Picture, Table, write_report

ROWS = {
    "alone": "mentee alone",
    "softmax": "mentee, mentor's softmax",
    "layers": "mentee, mentor's layers + softmax",
    "softmax_unlabelled": "mentee, softmax, + 2,900 unlabelled",
    "layers_unlabelled": "mentee, layers + softmax, + 2,900 unlabelled",
    "device": "  on the device, replay under the mentor",
    "device_replay_only": "  on the device, replay of labels only",
    "device_owner_only": "  on the device, owner's samples only",
}


def demo_table(outcomes: Sequence[Outcome], mentor: dict[str, float], mentor_parameters: int) -> Table:
    """mean ± std over the seeds; the mentor is one network, so it has no spread."""
    parameters = outcomes[0].mentees[EXPORTED].parameters
    rows = [["mentor", shown([mentor["owner"]]), shown([mentor["everybody"]]), *size(mentor_parameters), ""]]
    for arm, title in ROWS.items():
        owner, everybody = ([outcome.accuracy(arm, who) for outcome in outcomes] for who in ("owner", "everybody"))
        pace = spread([outcome.milliseconds(arm) for outcome in outcomes], 2)
        rows.append([title, shown(owner), shown(everybody), *size(parameters), pace])
    header = ["network", "owner, %", "everybody, %", "parameters", "bytes", "ms per step"]
    return Table("Accuracy on held-out MNIST digits", header, rows, notes(outcomes))


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    def gain(arm: str, other: str, who: str = "everybody") -> list[float]:
        return differences(outcomes, arm, other, who)

    owner, everybody = (gain("device", "exported", who) for who in ("owner", "everybody"))
    gradients = max(max(outcome.device.parity["gradients"].values()) for outcome in outcomes)
    peak = max(outcome.device.peak_rss_mb for outcome in outcomes)
    return [
        f"mean ± std over {len(outcomes)} seeds of weights and batches, last step, equal steps, the same 100 labels for every "
        "mentee and seed; the mentor saw all 3,000. Steps are of 64 samples on the server, of 16 + 16 on the device.",
        f"paired, everybody, the same 100 images: under the mentor − alone {told(gain('layers', 'alone'))}; its layers − its "
        f"softmax alone {told(gain('layers', 'softmax'), 'THE LAYERS')}.",
        f"paired, everybody, with the unlabelled images: under the mentor − alone {told(gain('layers_unlabelled', 'alone'))}; "
        f"its layers − its softmax alone {told(gain('layers_unlabelled', 'softmax_unlabelled'), 'THE LAYERS')}.",
        f"device learning ({LEARNING['steps']} steps, replay under the mentor), paired: owner {spread(owner)}, everybody "
        f"{spread(everybody)} points{'' if statistics.mean(everybody) > -1 else ' (A POINT OR MORE IS LOST)'}"
        f"{'' if statistics.mean(owner) > 0 else ' (THE OWNER GAINED NOTHING)'}.",
        f"device process: no torch, no onnx, peak {peak:.0f} MB; bundle {outcomes[0].device.bundle_bytes:,} bytes; gradients "
        f"within {gradients:.0e} of torch.",
        f"The demo's owner is simulated: the same digits, slanted ({SLANT:g} columns a row) and with a thicker pen ({PEN}×{PEN} "
        "maximum), 100 to learn from and 400 held out. β, γ, T and the learning rate were chosen on validation data; slant and "
        "pen by looking.",
    ]


def told(points: Sequence[float], who: str = "THE MENTOR") -> str:
    return f"{spread(points)} points" + ("" if statistics.mean(points) > 0 else f" ({who} DID NOT HELP)")


def differences(outcomes: Sequence[Outcome], arm: str, other: str, who: str) -> list[float]:
    """Gains in points, one for each seed."""
    return [100 * (outcome.accuracy(arm, who) - outcome.accuracy(other, who)) for outcome in outcomes]


def shown(accuracies: Sequence[float]) -> str:
    return spread([100 * accuracy for accuracy in accuracies])


def spread(values: Sequence[float], digits: int = 1) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def size(parameters: int) -> list[str]:
    return [f"{parameters:,}", f"{4 * parameters:,}"]


def write_demo_report(
    folder: Path,
    table: Table,
    outcomes: Sequence[Outcome],
    classes: Sequence[str],
    mentor_val_accuracy: float,
    schedule: Schedule,
) -> Path:
    mentees = outcomes[0].mentees
    exported = mentees[EXPORTED]
    curves = {ROWS[arm]: mentee.history for arm, mentee in mentees.items()}
    draw_owner(outcomes, folder / "device.png")
    draw_accuracy(curves, folder / "accuracy.png", mentor_val_accuracy)
    draw_terms(exported.history, folder / "terms.png")
    draw_probes(exported.history, folder / "probes.png")
    draw_knobs(schedule, len(exported.history), folder / "knobs.png")
    draw_confusions(
        {name: torch.tensor(matrix) for name, matrix in exported.confusion.items()}, classes, folder / "confusion.png"
    )
    pictures = [
        Picture("On the device: owner and everybody else", folder / "device.png"),
        Picture("Accuracy while training, first seed", folder / "accuracy.png"),
        Picture("Loss and its terms", folder / "terms.png"),
        Picture("Distance to the mentor at each probe", folder / "probes.png"),
        Picture("Obedience", folder / "knobs.png"),
        Picture("Confusion on the test split, mentor and mentee", folder / "confusion.png"),
    ]
    write_report(folder / "report.html", "Mentor and mentee: distil, export, learn on the device", [table, *pictures])
    return folder / "report.html"


def draw_owner(outcomes: Sequence[Outcome], path: Path) -> None:
    figure = Figure(figsize=(8.5, 4), layout="constrained")
    axes = figure.subplots()
    arms = {
        "exported": "as exported",
        "device": "learned with\nreplay under the mentor",
        "device_replay_only": "learned with\nreplay of labels only",
        "device_owner_only": "learned on the\nowner's samples only",
    }
    for i, who in enumerate(("owner", "everybody")):
        values = [[100 * outcome.accuracy(arm, who) for outcome in outcomes] for arm in arms]
        means = [statistics.mean(value) for value in values]
        bars = [statistics.stdev(value) if len(value) > 1 else 0.0 for value in values]
        places = [place + 0.38 * (i - 0.5) for place in range(len(arms))]
        drawn = axes.bar(
            places, means, 0.36, yerr=bars, capsize=3, label="owner" if who == "owner" else "everybody else"
        )
        axes.bar_label(drawn, fmt="%.1f", padding=3)
    axes.set_xticks(range(len(arms)), list(arms.values()))
    axes.set(ylabel="accuracy, %", ylim=(0, 112), title=f"Mean ± std over {len(outcomes)} seeds")
    axes.legend(loc="lower right")
    save(figure, path)
