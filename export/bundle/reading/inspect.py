"""`mentee-export inspect`: a bundle for a person. Reads manifest.json and parity.json alone, after all checks of a reader."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from export.backends import STOCK, TRAINING, left_out
from export.bundle.reading.parity import read_parity
from export.bundle.reading.read import SIGNATURE, opened
from export.parity.verdict import proofs, silent_in_words

WIDTH = 12


def inspected(path: Path) -> dict[str, Any]:
    """The manifest, `parity` and `signed`, as `json=true` prints them. Raises `UserError` for what is no whole bundle."""
    with opened(path) as (folder, manifest):
        parity = read_parity(folder, manifest["files"])
        return {**manifest, "parity": parity, "signed": (folder / SIGNATURE).is_file()}


def shown(path: Path, about: dict[str, Any]) -> str:
    """`inspected` in lines: a name, then what it says; further lines of the same name are indented."""
    total = sum(entry["bytes"] for entry in about["files"].values())
    lines = [f"bundle      {path}  {about['format']}, {total:,} bytes", f"id          {about['id']}"]
    for name, texts in sections(about):
        lines += [f"{'' if number else name:{WIDTH}}{text}" for number, text in enumerate(texts)]
    return "\n".join(lines)


def sections(about: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    view, classes, loss = about["preprocessing"], about["classes"], about["loss"]
    yield "signed", [f"yes, {SIGNATURE}; `verify key=…` tells by whom" if about["signed"] else "no"]
    yield "classes", [f"{len(classes)}: {', '.join(classes[:12])}{' …' if len(classes) > 12 else ''}"]
    if "spare_classes" in about:
        yield "", [f"the last {len(about['spare_classes'])} are spare: they get names on the device"]
    if "class_changes" in about:
        yield "", [", ".join(f"{len(names)} {kind}" for kind, names in about["class_changes"].items())]
    yield "input", [preprocessing(view)]
    yield "files", [f"{entry['bytes']:>12,}  {name}" for name, entry in sorted(about["files"].items())]
    yield (
        "probes",
        [
            f"{probe['name']}: mentee {probe['mentee']} against mentor {probe['mentor']}, {probe['adapter']}, "
            f"{sizes(probe['shape'])}" + (f", weight {probe['weight']:.3g}" if "weight" in probe else "")
            for probe in about["probes"]
        ]
        or ["none"],
    )
    if "mentor" in about:
        yield "mentor", [about["mentor"]["fingerprint"], *filter(None, [about["mentor"].get("service")])]
    knobs = ", ".join(f"{name} {loss[name]:g}" for name in ("alpha", "beta", "gamma", "temperature"))
    yield "loss", [loss.get("formula", "alpha*ce + beta*sum(rmse) + gamma*temperature^2*kl"), knobs]
    yield "backends", [backends_line(about)]
    yield "optimizer", optimizer(about["optimizer"])
    trainable, tensors = len(about["trainable"]), len(about["trainable"]) + len(about["frozen"])
    yield "trains", [f"{trainable} of {tensors} tensors; the mentee has {about['parameters']['count']:,} parameters"]
    yield "BatchNorm", [about["batch_norm"] + (f"; Dropout {about['dropout']}" if "dropout" in about else "")]
    if "costs" in about:
        yield "costs", [f"{name.replace('_', ' ')}: {readable(value)}" for name, value in about["costs"].items()]
    yield (
        "accuracy",
        [f"{entry['accuracy']:.2%} of {entry['samples']} {name} samples" for name, entry in about["base"].items()],
    )
    for name, variant in about.get("variants", {}).items():
        yield name, [variant_line(variant)]
    yield "packs", [pack_line(name, about[name]) for name in ("supervision", "golden")]
    yield "parity", parity_lines(about["parity"])
    yield "made with", [", ".join(f"{name} {value}" for name, value in about["made_with"].items())]


def preprocessing(view: dict[str, Any]) -> str:
    raw = view.get("dtype", "uint8")
    scaled = "raw / 255" if raw == "uint8" else "raw"
    mean, std = (", ".join(f"{value:.4g}" for value in view[key]) for key in ("mean", "std"))
    return f"{sizes(view['shape'])} {raw}; ({scaled} - [{mean}]) / [{std}]"


def optimizer(about: dict[str, Any]) -> list[str]:
    lists = ("groups", "schedule", "name")
    plain = ", ".join(
        f"{key} {readable(value)}" for key, value in about.items() if key not in lists and value is not None
    )
    schedule = about.get("schedule", "constant")
    groups = [
        f"group {group['match']}: {readable({k: v for k, v in group.items() if k != 'match'})}"
        for group in about.get("groups", [])
    ]
    return [f"{about['name']}: {plain}", f"schedule {readable(schedule)}", *groups]


def variant_line(variant: dict[str, Any]) -> str:
    if "omitted" in variant:
        return f"omitted: {variant['omitted']}"
    return (
        f"{variant['file']}, {variant['bytes']:,} bytes, {variant['test']['accuracy']:.2%} of {variant['test']['samples']} test "
        f"samples; {variant['quantisation']}"
    )


def pack_line(name: str, pack: dict[str, Any]) -> str:
    each = f", {pack['bytes_per_sample']:,} bytes each" if "bytes_per_sample" in pack else ""
    return f"{name}: {pack['samples']} samples{each}" + (f", chosen by {pack['rule']}" if "rule" in pack else "")


def parity_lines(parity: dict[str, Any]) -> list[str]:
    """Only numbers and mappings of numbers; the largest of a mapping, over all kinds of graphs, stands for it."""
    lines, reports = [f"against {parity.get('reference', 'nothing: no parity.json')}"], proofs(parity).values()
    for name in parity:
        found = [value for report in reports for value in numbers(report.get(name))]
        if name not in ("bounds", "stock", "ort_training") and found:
            lines.append(f"{name.replace('_', ' ')}: {max(found):.1e} at most")
    return [*lines, *silent_in_words(parity)]


def numbers(value: Any) -> list[float]:
    return [each for each in value.values() if isinstance(each, float)] if isinstance(value, dict) else []


def backends_line(manifest: dict[str, Any]) -> str:
    """Kinds of graphs that a bundle has, and those that it might have had."""
    return "; ".join([", ".join(backends_of(manifest)), *filter(None, [left_out(manifest.get("left_out", {}))])])


def backends_of(manifest: dict[str, Any]) -> list[str]:
    return [*([TRAINING] if "training" in manifest["graphs"] else []), *([STOCK] if "stock" in manifest else [])]


def sizes(shape: list[int]) -> str:
    return "×".join(map(str, shape))


def readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {readable(item)}" for name, item in value.items() if item is not None)
    if isinstance(value, list):
        return "[" + ", ".join(map(readable, value)) + "]"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
