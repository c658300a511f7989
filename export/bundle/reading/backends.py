"""Which graphs of a bundle learn, and what a schema cannot say of them: names, and vectors whose parts add up."""

import math
from collections.abc import Collection, Sequence
from typing import Any

from mentor_mentee.errors import UserError

ALL = ("training", "eval", "optimizer")  # graphs of ONNX Runtime Training
MOST_NUMBERS = 1 << 28  # of one vector; the device program has the same bound


def require_backends(manifest: dict[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """`inputs` and `outputs`: names of a training graph's. Raises `UserError` for a manifest that has some of the graphs of ONNX
    Runtime Training and not all, none that learn, or graphs that are not what the format has."""
    graphs = manifest["graphs"]
    training = [*(name for name in ALL if name in graphs), *(["checkpoint"] if "checkpoint" in manifest else [])]
    if len(training) not in (0, 4) or not (training or "stock" in manifest):
        raise refusal(f"has {', '.join(training) or 'nothing'} that learns")
    if ("stock" in manifest) != (manifest["format"] == "mentee-bundle/2"):
        raise refusal("has stock graphs in format 1, or none in format 2")
    if training:
        for name in ("training", "eval"):
            require_names(f"graphs.{name}", graphs[name], inputs, outputs)
    if "stock" in manifest:
        require_parts(manifest)
        require_stock(manifest, inputs, outputs)


def require_parts(manifest: dict[str, Any]) -> None:
    """Raises `UserError` for flat vectors whose parts leave gaps, or are not what the manifest says is trained."""
    state = manifest["stock"]["state"]
    names = [part["name"] for vector in ("parameters", "statistics") for part in state[vector]]
    expected = {*manifest["trainable"], *manifest.get("running_statistics", [])}
    if len(set(names)) != len(names) or set(names) != expected or not state["parameters"]:
        raise refusal("has other names in stock.state than in `trainable` and `running_statistics`")
    for vector in ("parameters", "statistics"):
        at = 0
        for part in state[vector]:
            if part["offset"] != at:
                raise refusal(
                    f"says in stock.state.{vector} that {part['name']!r} is at {part['offset']}, expected {at}"
                )
            at += math.prod(part["shape"])
        if at > MOST_NUMBERS:
            raise refusal(f"has {at} numbers in stock.state.{vector}, expected at most {MOST_NUMBERS}")


def require_stock(manifest: dict[str, Any], inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raises `UserError` for stock graphs with other inputs, outputs or sizes of vectors than the format has."""
    stock = manifest["stock"]
    state = stock["state"]
    P, S = (sum(math.prod(part["shape"]) for part in state[vector]) for vector in ("parameters", "statistics"))
    moments = [f"moment{number + 1}" for number in range(state["moments"])]
    sizes = dict.fromkeys(["parameters", "gradient", *moments], P) | {"statistics": S}
    statistics = ["statistics"] if state["statistics"] else []
    given = [port["name"] for port in stock["gradients"]["inputs"]]
    seed = ["seed"] if manifest.get("dropout") == "on" and "seed" in given else []
    kept = ["parameters", *statistics]
    moved = ["parameters", *moments]
    expected = {
        "gradients": ([*kept, *inputs, *seed], [*outputs, "gradient", *(f"new_{name}" for name in statistics)]),
        "optimizer": ([*moved, "gradient", "learning_rate", "step"], [f"new_{name}" for name in moved]),
        "forward": ([*kept, "input"], ["logits", "embedding"]),
    }
    for name, (into, out) in expected.items():
        require_names(f"stock.{name}", stock[name], into, out)
        for port in (*stock[name]["inputs"], *stock[name]["outputs"]):
            size = sizes.get(port["name"].removeprefix("new_"))
            if size is not None and port["shape"] != [size]:
                raise refusal(f"has {port['name']!r} of shape {port['shape']} in stock.{name}, its parts make [{size}]")


def require_names(where: str, graph: dict[str, Any], inputs: Collection[str], outputs: Collection[str]) -> None:
    for kind, names in (("inputs", set(inputs)), ("outputs", set(outputs))):
        given = [port["name"] for port in graph[kind]]
        if set(given) != names or len(given) != len(names):
            different = str(sorted(names ^ set(given)) or "a name twice")[:300]
            raise refusal(f"has {where}.{kind} that differ from what this format has: {different}")


def refusal(what: str) -> UserError:
    return UserError(f"manifest.json {what}; make the bundle again")
