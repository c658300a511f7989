"""manifest.json as docs/bundle.md describes it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch

from export.backends import training_missing
from export.bundle.graphs import Written
from export.bundle.knobs import device_knobs
from export.bundle.prepare import Prepared
from export.bundle.reading.files import as_json
from export.graph.ports import Port
from export.graph.versions import IR_VERSION, OPSET
from export.network.batch_norm import running_statistics, smallest_map
from export.schema import ExportSettings
from export.stock.assemble import StockGraphs
from export.stock.files import FORWARD_FILE, GRADIENTS_FILE, OPTIMIZER_FILE, STATE_FILE

FORMAT, FORMAT_WITH_STOCK = "mentee-bundle/1", "mentee-bundle/2"
NO_ID = "0" * 64


def describe(prepared: Prepared, settings: ExportSettings, written: Written) -> dict[str, Any]:
    """The manifest but for `id`, `files`, `base` and `checkpoint`, which depend on what lies in the folder in the end."""
    checkpoint, network = prepared.checkpoint, prepared.network
    parameters = list(network.parameters())
    return {
        "format": FORMAT if written.stock_graphs is None else FORMAT_WITH_STOCK,
        "id": NO_ID,
        "classes": list(prepared.classes),
        "preprocessing": {
            **{
                key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(checkpoint.view).items()
            },
            **({} if prepared.photo is None else {"photo": asdict(prepared.photo)}),
        },
        "graphs": {
            "inference": {
                "file": "inference.onnx",
                "inputs": ports_json(prepared.inputs[:1]),
                "outputs": ports_json(prepared.outputs[-2:]),
            },
            **(training_graphs(prepared, written.folder) if written.forward is not None else {}),
        },
        **({} if written.stock_graphs is None else {"stock": stock_json(written.stock_graphs)}),
        **({"left_out": written.left_out} if written.left_out else {}),
        "embedding": {"layer": checkpoint.head, "size": prepared.outputs[-1].shape[1]},
        "probes": [
            {
                "name": probe.name,
                "mentee": probe.mentee,
                "mentor": probe.mentor,
                "adapter": probe.adapter.kind,
                "shape": list(probe.adapter.shape),
                **({} if probe.weight == 1 else {"weight": probe.weight}),
            }
            for probe in checkpoint.probes
        ],
        "mentor": {
            "fingerprint": prepared.mentor,
            **({} if settings.mentor_service is None else {"service": settings.mentor_service}),
        },
        "loss": {
            "formula": checkpoint.loss.formula(any(probe.weight != 1 for probe in checkpoint.probes)),
            **asdict(checkpoint.loss),
            **asdict(device_knobs(settings.loss, checkpoint)),
            "schedule": "constant",
        },
        "optimizer": {**asdict(settings.optimizer), "rate_scale": settings.optimizer.rate_scale},
        "trainable": prepared.trainable,
        "frozen": [name for name, parameter in network.named_parameters() if not parameter.requires_grad],
        "parameters": {
            "count": sum(parameter.numel() for parameter in parameters),
            "bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        },
        **choices_json(prepared, settings),
        "supervision": {
            "file": "supervision.safetensors",
            "samples": len(prepared.pack.labels_N),
            "bytes_per_sample": prepared.pack.bytes_per_sample,
            "rule": settings.replay_rule,
        },
        "golden": {"file": "golden.safetensors", "samples": len(prepared.golden)},
        "settings": settings_json(settings),
        "made_with": made_with(),
    }


def training_graphs(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Those of ONNX Runtime Training."""
    ports = {"inputs": ports_json(prepared.inputs), "outputs": ports_json(prepared.outputs)}
    return {
        "training": {"file": "ort-training/training_model.onnx", **ports},
        "eval": {"file": "ort-training/eval_model.onnx", **ports},
        "optimizer": optimizer_json(folder / "ort-training" / "optimizer_model.onnx"),
    }


def stock_json(stock: StockGraphs) -> dict[str, Any]:
    """Graphs on flat vectors, and where each parameter and running statistic lies in them."""
    graphs = {GRADIENTS_FILE: stock.gradients, FORWARD_FILE: stock.forward, OPTIMIZER_FILE: stock.optimizer}
    return {
        **{
            file.removesuffix(".onnx"): {
                "file": f"stock/{file}",
                "inputs": values_json(model.graph.input),
                "outputs": values_json(model.graph.output),
            }
            for file, model in graphs.items()
        },
        "state": {
            "file": f"stock/{STATE_FILE}",
            "parameters": stock.parameters.json(),
            "statistics": stock.statistics.json(),
            "moments": stock.moments,
        },
    }


def values_json(values: Sequence[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
    described = []
    for value in values:
        kind = value.type.tensor_type
        shape = [size.dim_param or size.dim_value for size in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        described.append({"name": value.name, "dtype": dtype, "shape": shape, "meaning": value.name.replace("_", " ")})
    return described


def settings_json(settings: ExportSettings) -> dict[str, Any]:
    """Settings that make the same bundle of the same checkpoint; no path of the maker's, no key."""
    elsewhere = ("checkpoint", "bundle", "overwrite", "sign_key")
    return {name: value for name, value in asdict(settings).items() if name not in elsewhere}


def choices_json(prepared: Prepared, settings: ExportSettings) -> dict[str, Any]:
    """Choices about BatchNorm, Dropout and classes; without the optional keys where there is nothing to say."""
    example = torch.zeros(2, *prepared.checkpoint.view.shape)
    smallest, plan = smallest_map(prepared.network, example), prepared.plan
    return {
        "batch_norm": settings.batch_norm,
        **({} if smallest is None else {"batch_norm_smallest_map": smallest}),
        **({"running_statistics": names} if (names := running_statistics(prepared.network)) else {}),
        "dropout": settings.dropout,
        **({} if plan is None or not plan.changes else {"class_changes": plan.changes}),
        **({} if plan is None or not plan.spare else {"spare_classes": plan.spares}),
    }


def write_manifest(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Fills in `id`: sha256 of the file as it is with 64 zeros in the place of `id`, so it covers every word of it."""
    blank = as_json({**manifest, "id": NO_ID})
    identity = hashlib.sha256(blank.encode()).hexdigest()
    path.write_bytes(blank.replace(f'"id": "{NO_ID}"', f'"id": "{identity}"').encode())
    return {**manifest, "id": identity}


def ports_json(ports: Sequence[Port]) -> list[dict[str, Any]]:
    return [asdict(port) | {"shape": list(port.shape)} for port in ports]


def optimizer_json(path: Path) -> dict[str, Any]:
    graph = onnx.load(path).graph

    def ports(values: Sequence[onnx.ValueInfoProto]) -> list[dict[str, Any]]:
        described = []
        for value in values:
            sequence = value.type.WhichOneof("value") == "sequence_type"
            kind = value.type.sequence_type.elem_type.tensor_type if sequence else value.type.tensor_type
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
            described.append(
                {
                    "name": value.name,
                    "dtype": f"sequence({dtype})" if sequence else dtype,
                    "shape": [] if sequence else [1],
                    "meaning": value.name.replace("_", " "),
                }
            )
        return described

    return {"file": f"ort-training/{path.name}", "inputs": ports(graph.input), "outputs": ports(graph.output)}


def made_with() -> dict[str, Any]:
    runtime = "onnxruntime" if training_missing() is not None else "onnxruntime-training-cpu"
    versions = {name: version(name) for name in ("mentor-mentee", "torch", "onnx", runtime)}
    return {**versions, "opset": OPSET, "ir_version": IR_VERSION}
