"""The model card of a mentee: README.md beside its checkpoint and in its bundle, as Hugging Face reads one.

It says what the checkpoint says, with no path of the machine that it was made on, and the same of the same checkpoint.
"""

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

CARD = "README.md"
LIBRARY = "mentor-mentee"
PRIVATE = ("root", "path", "cache", "unlabelled")  # options of data sets that are places on a machine
MOST_CLASSES = 100  # that are named
RUNTIMES = {
    "training": "ONNX Runtime Training 1.19.2",
    "stock": "any ONNX Runtime since 1.17",
}  # by key of the manifest
MARKUP = frozenset("\\`*_[]<>#~&$")  # letters that Markdown, or HTML in it, gives a meaning


def model_card(about: Mapping[str, Any], bundle: Mapping[str, Any] | None = None, notes: Iterable[str] = ()) -> str:
    """`about`: a `MenteeCheckpoint` as a dict, without its weights. `bundle`: the manifest, where the card is a bundle's, and
    `notes` on it."""
    title = f"{short(about['recipe'])}, {len(about['classes'])} classes"
    parts = [
        front_matter(about),
        f"# {title}",
        "A small image classifier (*mentee*), distilled from a larger one (*mentor*) to learn on at its owner's device.",
        table(("", ""), facts(about, bundle)),
        "## Accuracy",
        accuracies(about, bundle),
        "\n".join(f"- {note}" for note in notes),
        "## Training",
        table(("", ""), training(about)),
        *layers(about["probes"]),
        "## Use",
        USE.strip(),
        "## Limits",
        LIMITS.strip(),
        *(["## Classes", ", ".join(map(plain, about["classes"][:MOST_CLASSES])) + more(about["classes"])]),
        "## Load it",
        (LOAD_BUNDLE if bundle is not None else LOAD).strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter(about: Mapping[str, Any]) -> str:
    data = data_name(about)
    lines = [
        "# license: say under which you give this away",
        f"library_name: {LIBRARY}",
        "pipeline_tag: image-classification",
        "tags:",
        *(f"- {tag}" for tag in (LIBRARY, "knowledge-distillation", "on-device-training")),
        *(["datasets:", f"- {json.dumps(data)}"] if data else []),
        "metrics:",
        "- accuracy",
    ]
    return "\n".join(["---", *lines, "---"])


def facts(about: Mapping[str, Any], bundle: Mapping[str, Any] | None = None) -> Iterable[tuple[str, str]]:
    view = about["view"]
    scaled = "pixel / 255" if view["dtype"] == "uint8" else "value"
    mean, std = (", ".join(f"{value:.4g}" for value in view[name]) for name in ("mean", "std"))
    yield "network", f"`{called(about['recipe'])}`"
    if "parameters" in about["run"]:
        yield "parameters", f"{about['run']['parameters']:,}"
    yield "input", f"{sizes(view['shape'])} {view['dtype']}, seen as ({scaled} − [{mean}]) / [{std}]"
    yield "weights", str(about["shown"])
    if bundle is not None:
        yield (
            "learns with",
            " or ".join(said for key, said in RUNTIMES.items() if key in bundle or key in bundle["graphs"]),
        )
    yield from ((name, str(value)) for name, value in about["run"].get("versions", {}).items())


def accuracies(about: Mapping[str, Any], bundle: Mapping[str, Any] | None) -> str:
    rows = [
        (f"{name} split", f"{one['accuracy']:.2%}", f"{one['samples']:,}")
        for name, one in about["accuracy"].items()
        if isfinite(one["accuracy"])
    ]
    if bundle is not None:
        rows += [
            (f"{name} samples, through inference.onnx", f"{one['accuracy']:.2%}", f"{one['samples']:,}")
            for name, one in bundle["base"].items()
        ]
    mentor = about["run"].get("mentor_test_accuracy")
    if mentor is not None:
        rows.append(("test split, the mentor", f"{mentor:.2%}", ""))
    if not rows:
        return "Not measured: the training had no validation samples."
    return table(("of the", "right", "samples"), rows) + f"\n\nThe weights are those of: {about['shown']}."


def training(about: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    run, mentor = about["run"], about["mentor"]
    yield "data", f"`{called(about['data'])}`" if about["data"] else "a DataLoader of a script, not named"
    if run.get("samples"):
        yield "training samples", str(run["samples"])
    yield "mentor", f"`{called(mentor['network'])}`" if mentor else str(run.get("mentor", "not named"))
    yield "loss", f"α · CE + β · Σ {about['loss']['probe']} + γ · T² · {about['loss']['softmax']}"
    for name in ("schedule", "steps", "seed"):
        if name in run:
            yield name, str(run[name])
    if about["knobs"]:
        knobs = {name: about["knobs"][name] for name in ("alpha", "beta", "gamma", "temperature")}
        yield "at the last step", ", ".join(f"{name} {value:.3g}" for name, value in knobs.items())


def layers(probes: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [(one["name"], f"`{one['mentor']}`", f"`{one['mentee']}`", one["adapter"]["kind"]) for one in probes]
    return (
        ["Layers that were compared:", table(("probe", "mentor's layer", "mentee's layer", "adapter"), rows)]
        if rows
        else []
    )


def data_name(about: Mapping[str, Any]) -> str:
    return short(about["data"]) if about["data"] else ""


def short(recipe: Mapping[str, Any]) -> str:
    """The name that a person knows it by: of a network of another package its own."""
    name = recipe.get("name")
    kind = str(recipe.get("_target_", "")).rpartition(".")[2].rpartition(":")[2]
    return str(name) if kind == "classifier" and name else kind


def called(recipe: Any) -> str:
    """`digits(seed=0)`; without places on a machine."""
    if isinstance(recipe, Mapping) and "_target_" in recipe:
        options = ", ".join(
            f"{name}={called(value)}"
            for name, value in recipe.items()
            if name not in ("_target_", *PRIVATE) and value is not None and not is_place(value)
        )
        return f"{str(recipe['_target_']).rpartition('.')[2]}({options})"
    if isinstance(recipe, list | tuple):
        return f"[{', '.join(map(called, recipe))}]"
    return str(recipe).replace("`", "'").replace("\n", " ")


def plain(name: Any) -> str:
    """One line that Markdown shows as it is, whatever a class is called."""
    line = " ".join(str(name).split()).encode(errors="replace").decode()
    return "".join(f"\\{letter}" if letter in MARKUP else letter for letter in line)


def is_place(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith(("/", "~", "\\")) or value[1:3] == ":\\")


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def sizes(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def more(classes: Any) -> str:
    return f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""


USE = """
Telling images like those it was trained on apart, by the classes below, on a device that may train it further on its owner's
samples. The owner's samples stay on the device.
"""
LIMITS = """
- It answers with one of its classes whatever it is shown.
- The accuracy above is of the named split alone. On other images, cameras or people it is not known: measure it there.
- Weights that were chosen by the validation split flatter that split.
- Its probabilities are not calibrated, and what the mentor was wrong about it may have learnt.
"""
LOAD = """
```python
from mentee import MenteeCheckpoint

checkpoint = MenteeCheckpoint.from_pretrained("this folder, or owner/name on the hub")
network = checkpoint.network()  # a torch module: checkpoint.view(uint8 or float32 images) -> logits
```

A checkpoint names Python callables to build its networks from: load only those you trust.
"""
LOAD_BUNDLE = """
```python
from mentee_device import Bundle, Owner

with Bundle.open("this folder") as bundle, Owner(bundle, "me") as owner:
    print(owner.predict(images).classes)
```
"""
