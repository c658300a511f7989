"""Trains a bundle's mentee with numpy and onnxruntime alone: python minimal.py BUNDLE STEPS"""

# Load the runtime
import json
import sys

import numpy as np
import onnxruntime

folder, steps = sys.argv[1], int(sys.argv[2])


# Read tensors
def tensors(path):
    data, kinds = np.fromfile(path, np.uint8), {"F32": "<f4", "F16": "<f2", "I64": "<i8", "U8": "u1"}
    header = json.loads(bytes(data[8 : (start := 8 + int(data[:8].view("<u8")[0]))]))
    found = {name: data[start:][slice(*part["data_offsets"])] for name, part in header.items() if "dtype" in part}
    return {k: v.view(kinds[header[k]["dtype"]]).reshape(header[k]["shape"]) for k, v in found.items()}


# Open the graphs
manifest = json.loads(np.fromfile(f"{folder}/manifest.json", np.uint8).tobytes())
given = manifest["preprocessing"] | manifest["loss"] | manifest["optimizer"]
graphs = {k: onnxruntime.InferenceSession(f"{folder}/stock/{k}.onnx") for k in ("gradients", "optimizer", "forward")}


def run(name, values):
    found = graphs[name].run(None, {port.name: values[port.name] for port in graphs[name].get_inputs()})
    return dict(zip((port.name.removeprefix("new_") for port in graphs[name].get_outputs()), found, strict=True))


# Begin with the bundle's state
values = tensors(f"{folder}/stock/state.safetensors")
values |= {name: np.zeros_like(values["parameters"]) for name in ("moment1", "moment2")}
values |= {name: np.float32([value]) for name, value in given.items() if isinstance(value, float | int)}

# Read the replay samples
pool = {k: v.astype("i8" if k == "labels" else "f4") for k, v in tensors(f"{folder}/supervision.safetensors").items()}
pool |= {"labelled": np.float32(pool["labels"] >= 0), "supervised": np.ones(len(pool["labels"]), np.float32)}

# Mix batches
mean, std = (np.float32(given[name])[:, None, None] for name in ("mean", "std"))
pool["input"] = (pool["input"] / np.float32(1 if given.get("dtype") == "float32" else 255) - mean) / std


def batch(number):
    return {name: value[(24 * number + np.arange(24)) * 7919 % len(value)] for name, value in pool.items()}


for step in range(steps):
    # Compute gradients
    values |= run("gradients", values | batch(step) | {"seed": np.float32([step])})
    print(values["loss"][0])

    # Move the parameters
    values |= run("optimizer", values | {"step": np.float32([step + 1])})

# Predict
print(run("forward", values | {"input": pool["input"][:1]})["logits"][0].tolist())
