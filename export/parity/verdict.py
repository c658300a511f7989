"""Verdict of the proof: what is out of bounds, which makes no bundle, and what it is silent about."""

from collections.abc import Callable, Mapping
from typing import Any

from export.backends import STOCK, TRAINING
from mentor_mentee.errors import UserError

OUTPUT_BOUND = 1e-5  # relative to the output's largest value, absolute where that is below 1
GRADIENT_BOUND = 1e-5
GRADIENT_LIMIT = 1e-3  # above it, agreement is none that says anything, whatever float32 does
STEPS_BOUND = 1e-4
NOUNS = {
    "outputs": "output",
    "inference": "inference",
    "gradients": "gradient of",
    "running": "running statistic",
}


def require_parity(report: dict[str, Any], why: Callable[[], str] = str, outcome: str = "; no bundle was made") -> None:
    """Raises `UserError` naming what is out of bounds; it begins with what `why` says."""
    bounds = report["bounds"]
    seen = {
        **judged(report, "outputs", bounds["outputs"]),
        **judged(report, "inference", bounds["outputs"]),
        **judged(report, "gradients", bounds["gradients"]),
        **judged(report, "running", bounds["outputs"]),
        **{f"{name} with nothing to learn from": (value, 0.0) for name, value in report["neither"].items()},
        **{
            f"a step of '{name}'": (value, bounds["steps"])
            for name, value in report.get("steps", {"parameters": {}})["parameters"].items()
        },
    }
    broken = [
        f"{what} by {value:.1e} (at most {bound:.0e})" for what, (value, bound) in seen.items() if not value <= bound
    ]
    if broken:
        raise UserError(
            f"{why()}the exported graph does not train as torch does{outcome}. It differs in {'; '.join(broken[:4])}"
            f"{f' and {len(broken) - 4} more' if len(broken) > 4 else ''}"
        )


def judged(report: dict[str, Any], heading: str, bound: float) -> dict[str, tuple[float, float]]:
    """Each number under a heading of the report -> (difference, bound). Where torch's own float32 differs by more than half of
    `bound`, twice that is the bound."""
    own = report["torch_float32"][heading]
    return {called(heading, name): (value, max(bound, 2 * own[name])) for name, value in report[heading].items()}


def called(heading: str, name: str) -> str:
    return f"{NOUNS[heading]} '{name}'"


def inconclusive(seen: Mapping[str, float], own: Mapping[str, float], asleep: Mapping[str, str]) -> dict[str, str]:
    """Parameter or output -> why it is not proved, though nothing speaks against it: that of `asleep`, or that torch's own
    float32 does not know it. `seen` and `own`: differences of the runtime and of torch's float32."""
    vague = {
        name: f"torch's own float32 differs from float64 by {own[name]:.1e}"
        for name, value in seen.items()
        if value > GRADIENT_LIMIT
    }
    return {**vague, **asleep}


def in_words(unproved: dict[str, str]) -> str:
    """One line for a person."""
    names = list(unproved)
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    outputs = any(name.startswith(f"{noun} '") for name in names for noun in NOUNS.values())
    what = "parameters or outputs" if outputs else "parameters"
    return (
        f"inconclusive for {len(names)} {what} ({shown}: {unproved[names[0]]}); nothing speaks against them, and all else "
        "agrees"
    )


def proofs(parity: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The reports of parity.json by kind of graphs: the first is the file itself, others lie in it."""
    others = {name: parity[name.replace("-", "_")] for name in (TRAINING, STOCK) if name.replace("-", "_") in parity}
    return {str(parity.get("backend", TRAINING)): parity, **others}


def silent_in_words(parity: Mapping[str, Any]) -> list[str]:
    """A line for each kind of graphs whose proof is silent about something; one where all are about the same."""
    said = {
        name: in_words(report["inconclusive"]) for name, report in proofs(parity).items() if report.get("inconclusive")
    }
    if len(set(said.values())) == 1:
        return list(said.values())[:1]
    return [f"{name}: {line}" for name, line in said.items()]


def require_conclusive(report: dict[str, Any]) -> None:
    """Raises `UserError` for a verdict that is not `proved`."""
    if report["inconclusive"]:
        raise UserError(
            f"the proof is {in_words(report['inconclusive'])}; no bundle was made: train the mentee further, freeze those, or "
            "take inconclusive=keep"
        )
