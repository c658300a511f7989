"""Runs one distillation by torchdistill's DistillationBox, for `against_torchdistill`; in an environment that has it.

Its argument is JSON; its last line says the test accuracy. Images are normalised once, before the first epoch.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset
from torchdistill.core.distillation import get_distillation_box  # type: ignore[import-not-found]
from torchvision import models

from mentee.networks import PlainCNN


def main() -> None:
    about: dict[str, Any] = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(about["seed"])
    source = np.load(about["data"])
    split = source["split"]
    pixels = torch.from_numpy(source["inputs"]).float().div(255)
    labels = torch.from_numpy(source["labels"]).long()
    train = torch.from_numpy(split == "train")
    mean, std = (getattr(pixels[train], what)((0, 2, 3)).view(3, 1, 1) for what in ("mean", "std"))
    pixels = pixels.sub_(mean).div_(std)
    sets = {
        part: TensorDataset(*(rows[torch.from_numpy(split == part)] for rows in (pixels, labels)))
        for part in set(split)
    }
    mentor = models.get_model(about["mentor"], num_classes=10)
    mentor.load_state_dict(load_file(about["weights"]))
    mentee = PlainCNN(3, 10, widths=about["widths"])
    box = get_distillation_box(mentor, mentee, sets, configuration(about), torch.device("cpu"), None, False, 1)
    mentor.eval()  # a box leaves that to its user: in training mode it would answer by, and learn, each batch's statistics
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for image_BCHW, label_B, more in box.train_data_loader:
            box.post_forward_process(loss=box.forward_process(image_BCHW, label_B, more))
        print(epoch, accuracy(mentee, box.val_data_loader), flush=True)
        box.post_epoch_process()
    if changed := [
        name for name, value in load_file(about["weights"]).items() if not value.equal(mentor.state_dict()[name])
    ]:
        raise SystemExit(f"the mentor is no longer that of {about['weights']}: {', '.join(changed[:4])} changed")
    of_mentor = [accuracy(mentor, DataLoader(sets[part], 256)) for part in ("val", "test")]  # as the other side does
    print(json.dumps({"accuracy": accuracy(mentee, DataLoader(sets["test"], 256)), "mentor": of_mentor}))


def configuration(about: dict[str, Any]) -> dict[str, Any]:
    head = {"student": "head", "teacher": "fc" if about["mentor"].startswith("resnet") else "classifier"}
    logits = {"module_path": head["student"], "io": "output"}
    return {
        "num_epochs": about["epochs"],
        "train_data_loader": loader("train", 64, "RandomSampler"),
        "val_data_loader": loader("val", 256, "SequentialSampler"),
        "teacher": side(about["layer"], head["teacher"]) | {"requires_grad": False},
        "student": side("features.2", head["student"]) | {"requires_grad": True},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": 2e-3, "weight_decay": 0.01}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "ce": {
                        "criterion": {"key": "CrossEntropyLoss", "kwargs": {}},
                        "criterion_wrapper": {
                            "key": "SimpleLossWrapper",
                            "kwargs": {"input": {"is_from_teacher": False} | logits, "target": {"uses_label": True}},
                        },
                        "weight": 1.0,
                    },
                    "kd": {
                        "criterion": {
                            "key": "KDLoss",
                            "kwargs": {
                                **{f"{who}_module_path": layer for who, layer in head.items()},
                                **{f"{who}_module_io": "output" for who in head},
                                "temperature": 4.0,
                                "alpha": 0.0,
                            },
                        },
                        "weight": 16.0,
                    },
                    "at": {
                        "criterion": {
                            "key": "ATLoss",
                            "kwargs": {
                                "at_pairs": {
                                    "mid": {
                                        "teacher": {"io": "output", "path": about["layer"]},
                                        "student": {"io": "output", "path": "features.2"},
                                        "weight": 1,
                                    }
                                }
                            },
                        },
                        "weight": 500.0,
                    },
                }
            },
        },
    }


def loader(part: str, batch: int, sampler: str) -> dict[str, Any]:
    return {
        "dataset_id": part,
        "sampler": {"class_or_func": getattr(torch.utils.data, sampler), "kwargs": {}},
        "kwargs": {"batch_size": batch, "num_workers": 0},
    }


def side(layer: str, head: str) -> dict[str, Any]:
    return {
        "forward_proc": "forward_batch_only",
        "sequential": [],
        "wrapper": None,
        "frozen_modules": [],
        "forward_hook": {"input": [], "output": [layer, head]},
    }


@torch.inference_mode()
def accuracy(network: torch.nn.Module, batches: DataLoader[Any]) -> float:
    network.eval()
    right = sum(int((network(batch[0]).argmax(1) == batch[1]).sum()) for batch in batches)
    return right / len(batches.dataset)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
