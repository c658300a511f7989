"""Presents a finished run: a table on the console, figures and a report in its folder."""

import re
from pathlib import Path

from rich.console import Console

from distill.handover import RunResult
from distill.report.figures import draw_accuracy, draw_confusions, draw_knobs, draw_probes, draw_terms
from distill.report.page import Picture, Table, shown, write_report


def present(result: RunResult, folder: Path, name: str = "") -> None:
    """Prints the results, and leaves report.html and its figures in `folder`. `name`: of a sweep's run."""
    table = results_table(result, name)
    table.print(Console())
    pictures = draw_run(result, folder)
    write_report(folder / "report.html", f"Distillation on {result.splits.name}", [table, *pictures])
    mentee = shown(result.checkpoint_path)
    following = f"python -m export make checkpoint={mentee} bundle={bundle_for(result.checkpoint_path)}"
    if result.checkpoint.mentor is None:
        following = f"mentee-evaluate checkpoint=MENTEE against={mentee} (a mentee without a mentor is not exported)"
    Console(highlight=False, markup=False).print(
        f"mentee  {mentee}\nreport  {shown(folder / 'report.html')}\nnext    {following}", soft_wrap=True
    )


def bundle_for(checkpoint: Path) -> str:
    """`bundles/mine` of a run in `runs/mine`; a number or a time has the folder above it in its name: `bundles/sweep-0`."""
    run = checkpoint.absolute().parent
    return f"bundles/{run.parent.name}-{run.name}" if re.fullmatch(r"[\d-]+", run.name) else f"bundles/{run.name}"


def results_table(result: RunResult, name: str = "") -> Table:
    mentor, agreement, rows = result.mentor, "", list[list[str]]()
    if mentor is not None:
        agreement = f"{float((result.mentee.predictions_N == mentor.predictions_N).float().mean()):.2%}"
        rows.append(["mentor", f"{mentor.accuracy:.2%}", f"{result.mentor_parameters:,}", ""])
    rows.append(["mentee", f"{result.mentee.accuracy:.2%}", f"{result.mentee_parameters:,}", agreement])
    notes = [
        f"{result.splits.name}: {len(result.splits.train)} training samples, {result.mentee.samples} test samples; "
        f"{int(result.history[-1]['step'])} steps, weights: {result.checkpoint.shown}; {result.mentor_origin}."
    ]
    header = ["network", "accuracy", "parameters", "agrees with the mentor"][: 3 if mentor is None else 4]
    return Table(f"Test accuracy{f', {name}' if name else ''}", header, [row[: len(header)] for row in rows], notes)


def draw_run(result: RunResult, folder: Path) -> list[Picture]:
    mentor = result.mentor
    matrices = {"mentor": mentor.confusion_KK} if mentor is not None else {}
    matrices["mentee"] = result.mentee.confusion_KK
    draw_terms(result.history, folder / "terms.png", result.checkpoint.loss)
    draw_accuracy({"mentee": result.history}, folder / "accuracy.png", mentor.accuracy if mentor is not None else None)
    draw_knobs(result.schedule, len(result.history), folder / "knobs.png")
    draw_confusions(matrices, result.splits.classes, folder / "confusion.png")
    compared = []
    if result.checkpoint.probes:
        draw_probes(result.history, folder / "probes.png", result.checkpoint.loss)
        compared.append(Picture("Distance to the mentor at each probe", folder / "probes.png"))
    return [
        Picture("Loss and its terms", folder / "terms.png"),
        *compared,
        Picture("Accuracy", folder / "accuracy.png"),
        Picture("Obedience", folder / "knobs.png"),
        Picture(f"Confusion on the test split, {' and '.join(matrices)}", folder / "confusion.png"),
    ]
