"""What `mentee-evaluate` does and prints."""

from pathlib import Path

from rich.console import Console

from data.errors import UserError
from data.load import load_data
from distill.evaluation import Evaluation, evaluate
from distill.report import Table
from distill.schema import EvaluateConfig
from mentee.checkpoint import MenteeCheckpoint
from mentor.restore import restore_mentor


def run_command(config: EvaluateConfig) -> None:
    checkpoint = MenteeCheckpoint.load(Path(config.checkpoint))
    splits = load_data(config.data or checkpoint.data, whole=True)
    if splits.classes != checkpoint.classes:
        raise UserError(
            f"the classes of {splits.name} are {splits.classes}, the run's {checkpoint.classes}; use data like the run's"
        )
    split = {"train": splits.train, "val": splits.val, "test": splits.test}[config.split]
    network, view = checkpoint.network(), checkpoint.view
    mentee = evaluate(lambda image: network(view(image)), split, len(splits.classes), config.batch)
    rows = [["mentee", f"{mentee.accuracy:.2%}", ""]]
    console = Console()
    if checkpoint.mentor is not None and not Path(checkpoint.mentor["weights"]).is_file():
        console.print(
            f"the mentor's weights are no longer at {checkpoint.mentor['weights']}: the mentee alone", soft_wrap=True
        )
    elif checkpoint.mentor is not None:
        asked = restore_mentor(checkpoint.mentor, ())
        mentor = evaluate(lambda image: asked.answer(image).logits, split, len(splits.classes), config.batch)
        agreement = float((mentee.predictions_N == mentor.predictions_N).float().mean())
        rows = [["mentor", f"{mentor.accuracy:.2%}", ""], ["mentee", f"{mentee.accuracy:.2%}", f"{agreement:.2%}"]]
    title = f"{splits.name}, {config.split} split, {mentee.samples} samples"
    Table(title, ["network", "accuracy", "agrees with the mentor"], rows).print(console)
    per_class(mentee, splits.classes).print(console)


def per_class(mentee: Evaluation, classes: tuple[str, ...]) -> Table:
    """Recall of each class, and what its samples were most often taken for."""
    rows = []
    for label, name in enumerate(classes):
        counts = mentee.confusion_KK[label]
        wrong = counts.clone()
        wrong[label] = 0
        taken = f"{classes[int(wrong.argmax())]} ({int(wrong.max())})" if int(wrong.max()) else ""
        total = int(counts.sum())
        rows.append([name, str(total), f"{int(counts[label]) / total:.1%}" if total else "", taken])
    return Table("The mentee by class", ["class", "samples", "right", "most often taken for"], rows)
