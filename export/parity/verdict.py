"""Verdict of the proof: what is out of bounds, which makes no bundle, and what it is silent about."""

from collections.abc import Callable, Mapping
from typing import Any

from mentor_mentee.errors import UserError

OUTPUT_BOUND = 1e-5  # relative to the output's largest value, absolute where that is below 1
GRADIENT_BOUND = 1e-5
GRADIENT_LIMIT = 1e-3  # above it, agreement is none that says anything, whatever float32 does
STEPS_BOUND = 1e-4


def require_parity(report: dict[str, Any], why: Callable[[], str] = str, outcome: str = "; no bundle was made") -> None:
    """Raises `UserError` naming what is out of bounds; it begins with what `why` says."""
    bounds = report["bounds"]
    own = report["torch_float32"]["gradients"]
    allowed = {name: max(bounds["gradients"], 2 * value) for name, value in own.items()}
    seen = {
        **{f"output '{name}'": (value, bounds["outputs"]) for name, value in report["outputs"].items()},
        **{f"inference '{name}'": (value, bounds["outputs"]) for name, value in report.get("inference", {}).items()},
        **{f"gradient of '{name}'": (value, allowed[name]) for name, value in report["gradients"].items()},
        **{f"running statistic '{name}'": (value, bounds["outputs"]) for name, value in report["running"].items()},
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


def inconclusive(seen: Mapping[str, float], own: Mapping[str, float], asleep: Mapping[str, str]) -> dict[str, str]:
    """Parameter -> why its gradient is not proved, though nothing speaks against it: that of `asleep`, or that torch's own
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
    return (
        f"inconclusive for {len(names)} parameters ({shown}: {unproved[names[0]]}); nothing speaks against them, and all else "
        "agrees"
    )


def require_conclusive(report: dict[str, Any]) -> None:
    """Raises `UserError` for a verdict that is not `proved`."""
    if report["inconclusive"]:
        raise UserError(
            f"the proof is {in_words(report['inconclusive'])}; no bundle was made: train the mentee further, freeze those, or "
            "take inconclusive=keep"
        )
