"""A setting's one description reaches the terminal and the docs, with the default that holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mentor_mentee.config.settings_help import Described, as_markdown, choices, described, for_terminal
from mentor_mentee.settings import setting


@dataclass
class Part:
    match: str = setting("???", "a glob")
    rate: float | None = setting(None, "a | b")


@dataclass
class Inner:
    betas: list[float] = setting([0.9, 0.999], "two numbers")
    on: bool = setting(False, "whether")
    parts: list[Part] = setting([], "parts")


@dataclass
class Outer:
    epochs: int = setting(20, "passes over the data")
    inner: Inner = setting(Inner, "not shown: its settings are")
    network: dict[str, Any] = setting({}, "a recipe")


def test_every_setting_has_a_row_and_those_inside_it_their_dotted_names() -> None:
    assert described(Outer) == [
        Described("epochs", "20", "passes over the data"),
        Described("inner.betas", "[0.9,0.999]", "two numbers"),
        Described("inner.on", "false", "whether"),
        Described("inner.parts", "[]", "parts"),
        Described("inner.parts[].match", "required", "a glob"),
        Described("inner.parts[].rate", "null", "a | b"),
        Described("network", "{}", "a recipe"),
    ]


@pytest.mark.parametrize("inner", [{"on": True}, Inner(on=True)])
def test_defaults_of_a_yaml_file_or_an_instance_stand_in_the_place_of_the_schemas(inner: Any) -> None:
    values = {"epochs": 3, "inner": inner, "network": {"_target_": "my.Net", "width": 8}}
    rows = {row.name: row.default for row in described(Outer, values)}
    assert (rows["epochs"], rows["inner.on"], rows["inner.betas"]) == ("3", "true", "[0.9,0.999]")
    assert rows["network"] == "my.Net"


def test_a_list_is_not_shared_between_instances() -> None:
    one, other = Inner(), Inner()
    one.betas.append(1.0)
    assert other.betas == [0.9, 0.999]


def test_both_tables_hold_every_row() -> None:
    rows = described(Outer)
    shown, markdown = for_terminal(rows).splitlines(), as_markdown(rows).splitlines()
    assert [line.split()[0] for line in shown] == ["setting", *(row.name for row in rows)]
    assert shown[2].split(maxsplit=2) == list(rows[1])
    assert markdown[2] == "| `epochs` | `20` | passes over the data |"
    assert markdown[7] == "| `inner.parts[].rate` | `null` | a \\| b |"


def test_the_choices_are_the_yaml_files_of_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "network").mkdir()
    for name in ("wide", "deep"):
        (tmp_path / "network" / f"{name}.yaml").touch()
    assert choices(Outer, tmp_path) == {"network": ["deep", "wide"]}
