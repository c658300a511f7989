"""Ways to break a manifest, each with the place that its reader must name. Read by the tests of both readers."""

from collections.abc import Callable
from typing import Any

Edit = Callable[[dict[str, Any]], object]
OUTSIDE = [
    "../secret",
    "/etc/passwd",
    "a/../../b",
    "a//b",
    "./a",
    "",
    "a\\..\\b",
    "C:/a",
    "a\x00b",
    "manifest.json",
    "manifest.sig",
]


INT8 = {
    "file": "inference.onnx",
    "bytes": 1,
    "quantisation": "dynamic",
    "calibration_samples": 0,
    "test": {"accuracy": 0.5, "samples": 10},
    "golden": {"accuracy": 0.5, "samples": 10},
}


PHOTO: dict[str, Any] = {"fit": "cover", "interpolation": "bilinear", "ground": 128}


def put(*place: str | int, value: Any) -> Edit:
    def edit(manifest: dict[str, Any]) -> None:
        node: Any = manifest
        for part in place[:-1]:
            node = node[part]
        node[place[-1]] = value

    return edit


def drop(*place: str | int) -> Edit:
    def edit(manifest: dict[str, Any]) -> None:
        node: Any = manifest
        for part in place[:-1]:
            node = node[part]
        del node[place[-1]]

    return edit


def listed(path: str) -> Edit:
    return lambda manifest: manifest["files"].update({path: {"sha256": "0" * 64, "bytes": 1}})


BROKEN: dict[str, Edit] = {
    "mentor without a fingerprint": put("mentor", value={"service": "https://mentor.example"}),
    "mentor whose fingerprint is no hash": put("mentor", "fingerprint", value="Z" * 64),
    "service at no address": put("mentor", "service", value="https://user@mentor.example/path"),
    "format 2 without stock graphs": put("format", value="mentee-bundle/2"),
    "format 3": put("format", value="mentee-bundle/3"),
    "stock graphs in format 1": put("stock", value={}),
    "no format": drop("format"),
    "no id": drop("id"),
    "id in capitals": put("id", value="A" * 64),
    "files a list": put("files", value=[]),
    "bytes below 0": put("files", "parity.json", "bytes", value=-1),
    "bytes a bool": put("files", "parity.json", "bytes", value=True),
    "bytes a text": put("files", "parity.json", "bytes", value="12"),
    "no sha256": drop("files", "parity.json", "sha256"),
    "a sha256 of two lines": put("files", "parity.json", "sha256", value="0\n" * 32),
    "no classes": drop("classes"),
    "one class": put("classes", value=["a"]),
    "a class twice": put("classes", value=["a", "a"]),
    "a class a number": put("classes", value=["a", 1]),
    "no preprocessing": drop("preprocessing"),
    "std 0": put("preprocessing", "std", value=[0]),
    "two means": put("preprocessing", "mean", value=[0.1, 0.2]),
    "mean too large": put("preprocessing", "mean", value=[10**400]),
    "no shape": put("preprocessing", "shape", value=[]),
    "shape of 0": put("preprocessing", "shape", value=[1, 0, 8]),
    "dtype int8": put("preprocessing", "dtype", value="int8"),
    "a photo that is a text": put("preprocessing", "photo", value="cover"),
    "a photo of another fit": put("preprocessing", "photo", value=PHOTO | {"fit": "contain"}),
    "a photo of side 0": put("preprocessing", "photo", value=PHOTO | {"fit": 0}),
    "a photo by another filter": put("preprocessing", "photo", value=PHOTO | {"interpolation": "mitchell"}),
    "a photo by a list": put("preprocessing", "photo", value=PHOTO | {"interpolation": ["box"]}),
    "a photo on a ground of 256": put("preprocessing", "photo", value=PHOTO | {"ground": 256}),
    "a photo without a ground": put("preprocessing", "photo", value={"fit": "cover", "interpolation": "box"}),
    "a photo of more": put("preprocessing", "photo", value=PHOTO | {"gamma": 2}),
    "graphs a list": put("graphs", value=[]),
    "no eval graph": drop("graphs", "eval"),
    "a graph not listed": put("graphs", "training", "file", value="x.onnx"),
    "a graph's file a number": put("graphs", "training", "file", value=1),
    "an input less": lambda manifest: manifest["graphs"]["training"]["inputs"].pop(),
    "an output twice": lambda manifest: manifest["graphs"]["eval"]["outputs"].append(
        manifest["graphs"]["eval"]["outputs"][0]
    ),
    "inputs of texts": put("graphs", "training", "inputs", value=["input"]),
    "no checkpoint": drop("checkpoint"),
    "checkpoint not listed": put("checkpoint", "file", value="elsewhere"),
    "weights not listed": put("checkpoint", "parameters", value="elsewhere"),
    "weights a number": put("checkpoint", "parameters", value=3),
    "golden not listed": put("golden", "file", value="elsewhere"),
    "no supervision": drop("supervision"),
    "probes an object": put("probes", value={}),
    "a probe a text": put("probes", 0, value="early"),
    "a probe without a name": drop("probes", 0, "name"),
    "a probe's shape of 0": put("probes", 0, "shape", value=[0]),
    "another probe loss": put("loss", "probe", value="l1"),
    "a softmax loss that is a list": put("loss", "softmax", value=["kl"]),
    "no gamma": drop("loss", "gamma"),
    "alpha a text": put("loss", "alpha", value="1"),
    "alpha below 0": put("loss", "alpha", value=-1),
    "gamma too large": put("loss", "gamma", value=10**400),
    "temperature 0": put("loss", "temperature", value=0),
    "temperature next to 0": put("loss", "temperature", value=1e-30),
    "alpha beyond all use": put("loss", "alpha", value=1e30),
    "rate scale next to 0": put("optimizer", "rate_scale", value=1e-300),
    "rate scale beyond float32": put("optimizer", "rate_scale", value=1e300),
    "learning rate next to 0": put("optimizer", "learning_rate", value=1e-300),
    "learning rate beyond float32": put("optimizer", "learning_rate", value=1e300),
    "accumulates for ever": put("optimizer", "accumulate", value=2**60),
    "mean far from all samples": put("preprocessing", "mean", value=[3e38]),
    "std next to 0": put("preprocessing", "std", value=[1e-20]),
    "a probe of 100 axes": put("probes", 0, "shape", value=[1] * 100),
    "a smallest map beyond memory": put("batch_norm_smallest_map", value=2**60),
    "an accuracy above 1": put("base", "golden", "accuracy", value=1.5),
    "variants a list": put("variants", value=[]),
    "a variant that is a text": put("variants", value={"int8": "inference.onnx"}),
    **{
        f"a variant's file {file!r}": put("variants", value={"int8": INT8 | {"file": file}})
        for file in ("../secret", "nowhere.onnx", "parity.json", 1)
    },
    "a variant that says nothing": put("variants", value={"int8": {}}),
    "no golden accuracy": drop("base", "golden"),
    "a term that is a text": put("expected", "loss", value="1"),
    "no inference graph": drop("graphs", "inference"),
    "learning rate 0": put("optimizer", "learning_rate", value=0),
    "no learning rate": drop("optimizer", "learning_rate"),
    "optimizer a text": put("optimizer", value="adamw"),
    "no parameters": drop("parameters"),
    "parameters below 0": put("parameters", "count", value=-1),
    "another BatchNorm": put("batch_norm", value="folded"),
    "base a list": put("base", value=[]),
    "an accuracy that is a text": put("base", "test", "accuracy", value="90%"),
    "embedding a text": put("embedding", value="head"),
    **{f"path {path!r}": listed(path) for path in OUTSIDE},
}

GRADIENTS, STATE = ("stock", "gradients"), ("stock", "state")


def shaped(graph: str, kind: str, name: str, shape: list[int]) -> Edit:
    def edit(manifest: dict[str, Any]) -> None:
        (port,) = (port for port in manifest["stock"][graph][kind] if port["name"] == name)
        port["shape"] = shape

    return edit


BROKEN_STOCK: dict[str, Edit] = {  # of a bundle with both kinds of graphs
    "format 1 with stock graphs": put("format", value="mentee-bundle/1"),
    "stock a list": put("stock", value=[]),
    "no stock graphs": drop("stock"),
    **{f"no stock {name}": drop("stock", name) for name in ("gradients", "optimizer", "forward", "state")},
    **{f"training graphs without their {name}": drop("graphs", name) for name in ("training", "eval", "optimizer")},
    "training graphs without a checkpoint": drop("checkpoint"),
    "a stock graph not listed": put(*GRADIENTS, "file", value="stock/x.onnx"),
    "a stock graph of another suffix": put(*GRADIENTS, "file", value="stock/state.safetensors"),
    "a stock graph's file a number": put(*GRADIENTS, "file", value=1),
    "the state not listed": put(*STATE, "file", value="stock/elsewhere"),
    "an input of the stock graph less": lambda manifest: manifest["stock"]["gradients"]["inputs"].pop(),
    "an input of the stock graph a text": put(*GRADIENTS, "inputs", 0, value="parameters"),
    "an input of the stock graph twice": lambda manifest: manifest["stock"]["forward"]["inputs"].append(
        manifest["stock"]["forward"]["inputs"][0]
    ),
    "a seed without Dropout": lambda manifest: manifest["stock"]["gradients"]["inputs"].append(
        {"name": "seed", "dtype": "float32", "shape": [1], "meaning": ""}
    ),
    "no gradient": lambda manifest: manifest["stock"]["gradients"]["outputs"].pop(),
    "an output of the optimizer of another name": put("stock", "optimizer", "outputs", 0, "name", value="parameters"),
    "moments that are more than the optimizer's": put(*STATE, "moments", value=1),
    "three moments": put(*STATE, "moments", value=3),
    "moments a text": put(*STATE, "moments", value="2"),
    "parts that overlap": put(*STATE, "parameters", 1, "offset", value=0),
    "parts with a gap": put(*STATE, "parameters", 1, "offset", value=10**6),
    "a part before the start": put(*STATE, "parameters", 0, "offset", value=-1),
    "a part's offset a text": put(*STATE, "parameters", 0, "offset", value="0"),
    "a part larger than its place": put(*STATE, "parameters", 0, "shape", value=[8, 1, 3, 4]),
    "the last part larger than the vector": put(*STATE, "parameters", -1, "shape", value=[10**6]),
    "a part beyond all memory": put(*STATE, "parameters", -1, "shape", value=[2**40]),
    "a part of no numbers": put(*STATE, "parameters", -1, "shape", value=[0]),
    "a part of nine axes": put(*STATE, "parameters", -1, "shape", value=[1] * 8 + [10]),
    "a part without a name": drop(*STATE, "parameters", 0, "name"),
    "a part a text": put(*STATE, "parameters", 0, value="weight"),
    "two parts of one name": lambda manifest: manifest["stock"]["state"]["parameters"][1].update(
        name=manifest["stock"]["state"]["parameters"][0]["name"]
    ),
    "a part that is not trained": put(*STATE, "parameters", 0, "name", value="elsewhere"),
    "a trained parameter that is no part": lambda manifest: manifest["trainable"].append("elsewhere"),
    "a statistic that is no part": put("running_statistics", value=["mean"]),
    "no parts": put(*STATE, "parameters", value=[]),
    "statistics an object": put(*STATE, "statistics", value={}),
    "parameters of another size": shaped("gradients", "inputs", "parameters", [7]),
    "a gradient of another size": shaped("gradients", "outputs", "gradient", [7]),
    "a moment of two axes": shaped("optimizer", "inputs", "moment2", [2, 709]),
}
