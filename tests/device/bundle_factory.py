"""A tiny bundle by the letter of docs/bundle.md, made without the project's exporter: an independent second writer.

Axes: B batch, K classes.
"""

import contextlib
import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from objective.loss import Terms, mentee_loss

K = 10
MEAN, STD = 0.45, 0.3
KNOBS = {"alpha": 1.0, "beta": 0.5, "gamma": 0.7, "temperature": 4.0}
LEARNING_RATE = 0.003
MASKED = ("input", "labels", "labelled", "mentor_logits", "mentor_conv2", "supervised")
INPUTS = (*MASKED, *KNOBS)
OUTPUTS = ("loss", "ce", "rmse_conv2", "kl", "logits", "embedding")
GRAPHS = {"training": "training_model", "eval": "eval_model", "optimizer": "optimizer_model"}


class Mentee(nn.Module):
    """[B, 1, 8, 8] -> logits, the activation after the second conv's ReLU, embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.classifier = nn.Linear(16, K)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        conv2 = torch.relu(self.conv2(nn.functional.max_pool2d(torch.relu(self.conv1(input)), 2)))
        embedding = conv2.mean((2, 3))
        return self.classifier(embedding), conv2, embedding


class Training(nn.Module):
    """Mentee and loss as one graph."""

    def __init__(self, mentee: Mentee) -> None:
        super().__init__()
        self.mentee = mentee

    def terms(self, feeds: dict[str, Tensor]) -> tuple[Terms, Tensor, Tensor]:
        logits, conv2, embedding = self.mentee(feeds["input"])
        names = ("labels", "labelled", "mentor_logits", "mentor_conv2", "supervised", *KNOBS)
        labels, labelled, mentor_logits, mentor_conv2, *rest = (feeds[name] for name in names)
        mentor = {"conv2": mentor_conv2}
        return mentee_loss(logits, {"conv2": conv2}, labels, labelled, mentor_logits, mentor, *rest), logits, embedding

    def forward(  # one named argument per input of the graph: that is what names them
        self,
        input: Tensor,
        labels: Tensor,
        labelled: Tensor,
        mentor_logits: Tensor,
        mentor_conv2: Tensor,
        supervised: Tensor,
        alpha: Tensor,
        beta: Tensor,
        gamma: Tensor,
        temperature: Tensor,
    ) -> tuple[Tensor, ...]:
        values = (input, labels, labelled, mentor_logits, mentor_conv2, supervised, alpha, beta, gamma, temperature)
        terms, logits, embedding = self.terms(dict(zip(INPUTS, values, strict=True)))
        return terms.loss, terms.ce, terms.rmse["conv2"], terms.kl, logits, embedding


def torch_training(seed: int) -> Training:
    """The module that `make(seed=seed)` exports, weights and all."""
    torch.manual_seed(seed)
    return Training(Mentee())


def make(folder: Path, seed: int) -> None:
    """Writes a bundle into the new `folder`."""
    training = torch_training(seed)
    artifacts = folder / "ort-training"
    artifacts.mkdir(parents=True)
    _artifacts(training, artifacts)
    random = np.random.default_rng(seed)
    _packs(folder, random)
    (folder / "parity.json").write_text("{}\n")
    write_manifest(folder, _content(sum(parameter.numel() for parameter in training.parameters())))


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """manifest.json with `files` and `id` as the folder is now."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "manifest.json":
            data = path.read_bytes()
            files[path.relative_to(folder).as_posix()] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
            }
    lines = "".join(f"{files[path]['sha256']}  {path}\n" for path in sorted(files))
    content = {**content, "id": hashlib.sha256(lines.encode()).hexdigest(), "files": files}
    (folder / "manifest.json").write_text(json.dumps(content, indent=1))


def _artifacts(training: Training, folder: Path) -> None:
    B = 4
    arguments = (
        torch.randn(B, 1, 8, 8),
        torch.randint(0, K, (B,)),
        torch.ones(B),
        torch.randn(B, K),
        torch.randn(B, 16, 4, 4),
        torch.ones(B),
        *(torch.full((1,), value) for value in KNOBS.values()),  # one tensor for all four would make them one input
    )
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's and onnxscript's own, about themselves
        program = torch.onnx.export(
            training,
            arguments,
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes={name: {0: batch} if name in MASKED else None for name in INPUTS},
            opset_version=18,
            optimize=False,  # True renames parameters
            verbose=False,
        )
        import onnxruntime
        from onnxruntime.training import artifacts

        onnxruntime.set_default_logger_severity(4)

        artifacts.generate_artifacts(
            program.model_proto,
            requires_grad=[name for name, _ in training.named_parameters()],
            frozen_params=[],
            loss=None,
            optimizer=artifacts.OptimType.AdamW,
            artifact_directory=folder,
        )
    for name in GRAPHS.values():
        path = folder / f"{name}.onnx"
        model = onnx.load(path)
        model.ir_version = min(model.ir_version, 10)  # the last that 1.19.2 loads
        for node in (node for function in model.functions for node in function.node):
            _torchs_adamw(node)
        for node in model.graph.node:
            _torchs_adamw(node)
        onnx.save(model, path)


def _torchs_adamw(node: onnx.NodeProto) -> None:
    wanted = {"adam_mode": 0, "epsilon": 1e-8, "weight_decay": 0.01}
    if node.op_type == "AdamWOptimizer":
        kept = [attribute for attribute in node.attribute if attribute.name not in wanted]
        del node.attribute[:]
        node.attribute.extend([*kept, *(onnx.helper.make_attribute(*item) for item in wanted.items())])


def _packs(folder: Path, random: np.random.Generator) -> None:
    labels = random.integers(0, K, 20)
    labels[3] = -1
    replay = {
        "input": random.integers(0, 256, (20, 1, 8, 8), np.uint8),
        "labels": labels,
        "mentor_logits": random.standard_normal((20, K)).astype(np.float16),
        "mentor_conv2": random.random((20, 16, 4, 4)).astype(np.float16),
    }
    golden = {"input": random.integers(0, 256, (70, 1, 8, 8), np.uint8), "labels": random.integers(0, K, 70)}
    save_file(replay, folder / "supervision.safetensors")
    save_file(golden, folder / "golden.safetensors")


def _content(parameters: int) -> dict[str, Any]:
    def tensor(name: str) -> dict[str, Any]:
        return {"name": name, "dtype": "float32", "shape": ["batch"], "meaning": name}

    io_ = {"inputs": [tensor(name) for name in INPUTS], "outputs": [tensor(name) for name in OUTPUTS]}
    graphs = {name: {"file": f"ort-training/{file}.onnx", **io_} for name, file in GRAPHS.items()}
    graphs["optimizer"].update(inputs=[], outputs=[])
    return {
        "format": "mentee-bundle/1",
        "classes": [f"class {index}" for index in range(K)],
        "preprocessing": {"shape": [1, 8, 8], "mean": [MEAN], "std": [STD]},
        "graphs": graphs,
        "checkpoint": {"file": "ort-training/checkpoint"},
        "embedding": {"layer": "classifier", "size": 16},
        "probes": [{"name": "conv2", "mentee": "conv2", "mentor": "layer2", "adapter": "none", "shape": [16, 4, 4]}],
        "loss": {"formula": "α·ce + β·Σ rmse + γ·T²·kl", **KNOBS},
        "optimizer": {
            "name": "AdamW",
            "learning_rate": LEARNING_RATE,
            "betas": [0.9, 0.999],
            "epsilon": 1e-8,
            "weight_decay": 0.01,
        },
        "parameters": {"count": parameters, "bytes": 4 * parameters},
        "base": {"test": {"accuracy": 0.1, "samples": 70}, "golden": {"accuracy": 0.1, "samples": 70}},
        "supervision": {"file": "supervision.safetensors", "samples": 20},
        "golden": {"file": "golden.safetensors", "samples": 70},
    }
