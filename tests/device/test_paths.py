"""A path that no file can have is refused in one line wherever it is given, and nothing is made."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mentee_device import Bundle, BundleError, Owner, StateError, import_state, migrate
from mentee_device.cli.main import main

NAMES = {"NUL": "a\0b", "half a character": "\ud800x", "too long": "x" * 300, "too deep": "a/" * 3000 + "b"}
IMPOSSIBLE = ("NUL", "half a character")
WAYS: dict[str, Callable[[Bundle, Owner, Path, str], object]] = {
    "Bundle.open": lambda bundle, me, file, name: Bundle.open(name),
    "its key": lambda bundle, me, file, name: Bundle.open(bundle.folder, name),
    "Owner": lambda bundle, me, file, name: Owner(bundle, name),
    "export_state": lambda bundle, me, file, name: me.export_state(name),
    "merge": lambda bundle, me, file, name: me.merge(name),
    "import_state": lambda bundle, me, file, name: import_state(name, "new", bundle),
    "its folder": lambda bundle, me, file, name: import_state(file, name, bundle),
    "migrate": lambda bundle, me, file, name: migrate(name, bundle),
}
COMMANDS = (
    ["info", "--bundle=NAME"],
    ["info", "--bundle=BUNDLE", "--key=NAME"],
    ["versions", "--bundle=BUNDLE", "--state=NAME"],
    ["versions", "--bundle=BUNDLE", "--state=me", "--key-file=NAME"],
    ["add", "--bundle=BUNDLE", "--state=me", "--data=NAME"],
    ["export-state", "--bundle=BUNDLE", "--state=me", "NAME"],
    ["merge", "--bundle=BUNDLE", "--state=me", "NAME"],
    ["import-state", "--bundle=BUNDLE", "--state=new", "NAME"],
    ["import-state", "--bundle=BUNDLE", "--state=NAME", "exported"],
)


@pytest.fixture
def place(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with Owner(bundle, "me") as owner:
        owner.export_state("exported")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_of_the_library(way: str, name: str, bundle: Bundle, place: Path) -> None:
    with Owner(bundle, "me") as owner:
        before = {*os.listdir(place)}
        with pytest.raises((BundleError, StateError)) as error:
            WAYS[way](bundle, owner, place / "exported", NAMES[name])
        assert {*os.listdir(place)} == before
    assert "\n" not in str(error.value)
    if name in IMPOSSIBLE:
        assert "is no path that a file can have" in str(error.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_of_a_command(
    words: list[str], name: str, bundle: Bundle, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {*os.listdir(place)}
    given = [word.replace("NAME", NAMES[name]).replace("BUNDLE", str(bundle.folder)) for word in words]
    try:
        code: object = main(given)
    except SystemExit as exit:
        code = exit.code
    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (2, 1), said
    assert said.startswith("error: ")
    assert {*os.listdir(place)} == before


@pytest.mark.parametrize("value", ["", "--"])
def test_a_value_that_is_none(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in [*COMMANDS, ["versions", "--bundle=BUNDLE", "--state", "NAME"], ["settings", "--set=NAME"]]:
        with pytest.raises(SystemExit, match="2"):
            main([word.replace("NAME", value) for word in words])
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
