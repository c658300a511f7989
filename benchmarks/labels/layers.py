"""Accuracy that the default's layers add to the softmax: pairs of networks × numbers of labels × arms, by the short command.

    python -m benchmarks.labels.layers DATA_ROOT [--seeds 3] [--pairs plain …] [--conditions few …] [--arms KD default …]

DATA_ROOT holds FashionMNIST/raw, cifar10_mini.npz and weights/resnet20-12fca82f.th. 300 steps of 64, no augmentation where not
said; accuracy at the last step, mean ± std over seeds (weights, batches and labelled images); arms are chosen on validation.
Runs are stored under --out: called again it makes what is missing. Mentors are trained first, some minutes of one core each.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
from rich.console import Console

from distill.machine import Machine
from distill.mentors.find import FoundMentor, find_mentor
from distill.run import distill
from distill.schema import DistillConfig
from mentor_mentee.config.compose import compose
from mentor_mentee.data.load import load_data

PLAIN = "mentee.network.widths=[12,24,28] mentee.network.pool=before mentee.network.flatten=28"
MNIST = "data=mnist5k"
FASHION = "data=arrays data.path={out}/fashion.npz data.val_fraction=0.1 data.test_fraction=0.2"
CIFAR = (
    "data=arrays data.path={root}/cifar10_mini.npz data.inputs=x_train data.labels=y_train data.layout=NHWC "
    "data.val_fraction=0.25 data.test_fraction=0.25 mentor=own mentor.network._target_=benchmarks.labels.resnet20.ResNet20 "
    "mentor.weights={root}/weights/resnet20-12fca82f.th mentor.view.mean=[0.485,0.456,0.406] mentor.view.std=[0.229,0.224,0.225]"
)
VIT = (
    "mentor=own mentor.network._target_=torchvision.models.vision_transformer.VisionTransformer mentor.network.image_size=28 "
    "mentor.network.patch_size=4 mentor.network.num_layers=4 mentor.network.num_heads=4 mentor.network.hidden_dim=64 "
    "mentor.network.mlp_dim=128 mentor.view.channels=3 mentor.fit.max_epochs=40 mentor.fit.learning_rate=2e-3 "
    "mentor.fit.augment.transforms=[{{_target_:RandomAffine,degrees:12,translate:[0.08,0.08],interpolation:bilinear}}]"
)
PAIRS = {  # mentor -> mentee
    "plain": f"{MNIST} mentor=mnist5k_plain {PLAIN}",
    "residual": f"{MNIST} mentor=mnist_resnet mentor.network.widths=[16,32,64] mentor.fit.batch=64 {PLAIN}",
    "fashion": f"{FASHION} mentor=fashion_resnet mentor.network.widths=[16,32,64] mentor.fit.batch=64 mentor.fit.max_epochs=8 "
    f"{PLAIN}",
    "resnet20": f"{CIFAR} mentee=residual_cnn",
    "inverted": f"{CIFAR} mentee=inverted_residual",
    "transformer": f"{MNIST} {VIT} {PLAIN}",
}
CONDITIONS = {
    "few": "data.labels_per_class=10",
    "few, augmented": "data.labels_per_class=10 trainer.augment.views=16 "
    "trainer.augment.transforms=[{_target_:RandomAffine,degrees:8,translate:[0.07,0.07],interpolation:bilinear}]",
    "few + unlabelled": "data.labels_per_class=10 data.keep_unlabelled=true",
    "all": "",
}
T4 = "schedule.temperature=4 schedule.gamma=[[0,1]]"
ARMS = {
    "alone": "schedule=alone probes=none",
    "KD": f"probes=none {T4}",
    "KD by the mentor's logits": "probes=none",
    "before": f"probes._adapter_=slice schedule.beta=[[0,0.5],[1,0.05]] {T4}",  # the default's β; its pairs were others as well
    "default": "",
}
BASE = "trainer.max_epochs=20 trainer.steps_per_epoch=15 trainer.learning_rate=6e-3 threads=1 accelerator=cpu preflight=false"
FASHION_IMAGES = 15_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels.layers")
    parser.add_argument("root", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS), metavar="PAIR")
    parser.add_argument("--conditions", nargs="+", default=["few"], choices=list(CONDITIONS), metavar="CONDITION")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="ARM", help="of ARMS, or settings in quotes")
    parser.add_argument(
        "--test", action="store_true", help="show test accuracy as well: of what was chosen, not to choose by"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/layers"))
    given = parser.parse_args()
    prepare_fashion(given.root, given.out)
    machine = Machine("cpu", 1, Console(quiet=True))
    for pair in given.pairs:
        shared = f"{PAIRS[pair]} {BASE} cache_dir={given.out}/cache".format(root=given.root, out=given.out).split()
        config = compose("distill", DistillConfig, [*shared, "run_dir=unused"])
        mentor = find_mentor(config.mentor, load_data(config.data, whole=True), Path(config.cache_dir), machine)
        print(f"{pair}: mentor {mentor.val_accuracy:.1%} on validation", flush=True)
        for condition in given.conditions:
            baseline: list[dict[str, float]] | None = None
            for arm in given.arms:
                settings = [*shared, *CONDITIONS[condition].split(), *ARMS.get(arm, arm).split()]
                runs = [
                    run(settings, given.out / pair / condition / arm.replace("/", ":"), seed, mentor, machine)
                    for seed in range(1, given.seeds + 1)
                ]
                if arm == "KD":
                    baseline = runs
                print(f"{pair} | {condition} | {arm} | {shown(runs, baseline, 'val')}", end="")
                print(f" | test {shown(runs, baseline, 'test')}" if given.test else "", flush=True)


def prepare_fashion(root: Path, out: Path) -> None:
    """Writes the first images of Fashion-MNIST's training set as the arrays that the pair `fashion` splits."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "fashion.npz").is_file():
        from torchvision.datasets import FashionMNIST

        source = FashionMNIST(root, train=True, download=False)
        np.savez(
            out / "fashion.npz",
            inputs=source.data[:FASHION_IMAGES].numpy(),
            labels=source.targets[:FASHION_IMAGES].numpy(),
        )


def run(settings: list[str], folder: Path, seed: int, mentor: FoundMentor, machine: Machine) -> dict[str, float]:
    """{"val", "test"} accuracy of a run of this seed, which fixes the labelled images as well."""
    record = folder / f"{seed}.json"
    if not record.is_file():
        budget = (
            [f"data.budget_seed={seed}"] if any(one.startswith("data.labels_per_class") for one in settings) else []
        )
        given = [
            *settings,
            *budget,
            f"seed={seed}",
            "run_dir=" + str(folder.parent / "run").replace(" ", "_").replace(",", ""),
        ]
        result = distill(compose("distill", DistillConfig, given), machine, mentor=mentor)
        accuracy = result.checkpoint.accuracy
        folder.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({part: accuracy[part]["accuracy"] for part in ("val", "test")}), encoding="utf-8")
    scores: dict[str, float] = json.loads(record.read_text(encoding="utf-8"))
    return scores


def shown(runs: list[dict[str, float]], baseline: list[dict[str, float]] | None, part: str) -> str:
    """`96.9 ± 0.2 (+5.1)`: mean and std in %, the mean paired difference to KD."""
    values = [100 * one[part] for one in runs]
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    gain = (
        ""
        if baseline is None
        else f" ({statistics.mean(values) - statistics.mean(100 * one[part] for one in baseline):+.1f})"
    )
    return f"{statistics.mean(values):.1f} ± {spread:.1f}{gain}"


if __name__ == "__main__":
    main()
