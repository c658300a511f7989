"""Every option of every recipe that a shipped YAML file names is described once, and `--help` prints it with its value."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from mentor_mentee.config.help import option_rows
from mentor_mentee.config.recipe_help import FROM_THE_DATA, recipe_rows
from mentor_mentee.config.settings_help import Described
from tests.paths import ROOT

# group -> where its recipe stands in a file
IN_GROUP = {"schedule": None, "data": None, "mentee": "network", "mentor": "network"}


def recipes() -> dict[str, dict[str, object]]:
    found = {}
    for group, inside in IN_GROUP.items():
        for file in sorted((ROOT / "configs" / group).glob("*.yaml")):
            content = yaml.safe_load(file.read_text())
            recipe = content[inside] if inside else content
            if recipe["_target_"] != "???":
                found[f"{group}={file.stem}"] = recipe
    return found


@pytest.mark.parametrize(("recipe"), [pytest.param(recipe, id=name) for name, recipe in recipes().items()])
def test_each_option_is_described_and_shown_with_the_value_of_the_file(recipe: dict[str, object]) -> None:
    module, _, name = str(recipe["_target_"]).rpartition(".")
    signature = inspect.signature(getattr(import_module(module), name)).parameters
    expected = {option: about for option, about in signature.items() if about.kind is not about.VAR_KEYWORD}
    rows = {row.name.removeprefix("here."): row for row in recipe_rows(recipe, "here")}
    named = [
        option for option, one in expected.items() if one.kind is not one.VAR_KEYWORD
    ]  # `**options` is none by a name
    assert list(rows) == [option for option in named if option not in FROM_THE_DATA]
    for option, row in rows.items():
        assert row.about, option
        assert len(row.about) < 130
        value = recipe.get(option, expected[option].default)
        if isinstance(value, int) and not isinstance(value, bool):
            assert row.default == str(value)


def test_a_target_of_the_users_own_shows_its_options_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_help.py").write_text(
        'def net(num_classes, depth=3, *, kind: str = "a" + "b", **more):\n'
        '    """Mine.\n\n    - `depth`: how deep,\n      in layers\n    """\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    rows = recipe_rows({"_target_": "own_help.net", "kind": "c"}, "mentee.network")
    assert rows == [
        Described("mentee.network.depth", "3", "how deep, in layers"),
        Described("mentee.network.kind", "c", ""),
    ]
    assert recipe_rows({"_target_": "no.such.thing"}, "x") == recipe_rows({"_target_": "???"}, "x") == []


def test_settings_that_no_signature_shows_stand_below_those_of_the_recipe() -> None:
    rows = option_rows({"data": {"a": 3}}, "data", {"a": (1, "first"), "b": (None, "second")})
    assert rows == [Described("data.a", "3", "first"), Described("data.b", "null", "second")]
