"""Verdicts on layers and settings, read from layers.toml. Imports no torch: the site shows them, tests hold the export to it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

PROVED, STOCK_ALONE, OPERATOR, LINE = "proved", "stock", "operator", "line"
FILE = Path(__file__).with_name("layers.toml")


@dataclass(frozen=True)
class Verdict:
    """`proved`: trains as in torch with both kinds of graphs. `stock`: with stock graphs alone, as ONNX Runtime Training has no
    gradient of the operator `says`. `operator`: one without a gradient in either is left, `says` names it. `line`: no graph is
    made of it, and the line that says so has the words `says`."""

    kind: str
    says: str = ""

    @property
    def words(self) -> str:
        if self.kind == PROVED:
            return "trains"
        if self.kind == STOCK_ALONE:
            return f"trains with stock graphs alone: {self.says}"
        return f"refused: {f'{self.says} has no gradient' if self.kind == OPERATOR else self.says}"


@dataclass(frozen=True)
class Group:
    title: str
    given: str  # what the layer is given: a key of `networks.FRONTS`
    layers: dict[str, Verdict]


def read(file: Path = FILE) -> list[Group]:
    """Groups in the order of the file; a layer is in one of `trains`, `stock.<operator>`, `operator.<operator>` and
    `line.<words>`."""
    groups = []
    for title, about in tomllib.loads(file.read_text(encoding="utf-8")).items():
        layers = dict.fromkeys(about["trains"], Verdict(PROVED))
        for kind in (STOCK_ALONE, OPERATOR, LINE):
            for says, refused in about.get(kind, {}).items():
                layers |= dict.fromkeys(refused, Verdict(kind, says))
        groups.append(Group(title, about["given"], layers))
    return groups


GROUPS = read()
