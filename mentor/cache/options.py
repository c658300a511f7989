"""How answers are cached. Imports no torch: settings are checked before torch is imported."""

from dataclasses import dataclass

PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class CacheOptions:
    """`activations`: one of PRECISIONS. `verify`: the share of cached answers that is asked for again to compare."""

    activations: str = "int8"
    verify: float = 0.0
