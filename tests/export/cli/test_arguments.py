"""`name=value`, and the spellings of before that mean the same."""

import sys
from pathlib import Path

import pytest

from export.__main__ import HELP, VERBS, main
from export.cli.arguments import parsed
from export.cli.bundles import InspectSettings, KeygenSettings, VerifySettings
from export.schema import ExportSettings, PreflightSettings
from mentor_mentee.config.settings_help import described
from mentor_mentee.errors import UserError

MEANT = VerifySettings(Path("b"), Path("k.pem"), None, True)


@pytest.mark.parametrize(
    "words",
    [
        ["bundle=b", "key=k.pem", "json=true"],
        ["b", "--key", "k.pem", "--json"],
        ["--json", "--key=k.pem", "b"],
        ["json=true", "--bundle", "b", "key=k.pem", "checkpoint=null"],
    ],
)
def test_every_spelling_means_the_same(words: list[str]) -> None:
    assert parsed(VerifySettings, words) == MEANT


def test_bare_paths_are_what_must_be_given_in_its_order() -> None:
    assert parsed(KeygenSettings, ["a.pem", "b.pem"]) == KeygenSettings(Path("a.pem"), Path("b.pem"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "bundle is not set; give it as bundle=…"),
        (["b", "c"], r"'c' names no setting; write SETTING=VALUE \(known: bundle, key, checkpoint, json\)"),
        (["bundle=b", "--kye", "k"], "no setting 'kye'; did you mean 'key'?"),
        (["bundle=b", "json=ture"], "json=ture; did you mean 'true'.; expected true or false"),
        (["bundle=b", "bundle=c"], "bundle is given twice"),
        (["bundle="], "bundle= is empty; expected a path"),
        (["bundle=b", "--key"], "key is given no value; write key=…"),
    ],
)
def test_a_slip_is_named_with_what_was_expected(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parsed(VerifySettings, words)


SCHEMAS = {
    "make": ExportSettings,
    "preflight": PreflightSettings,
    "inspect": InspectSettings,
    "verify": VerifySettings,
    "keygen": KeygenSettings,
}


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_prints_each_setting_with_its_default_and_what_it_does(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mentee-export", verb, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    words = capsys.readouterr().out.split()
    rows = described(SCHEMAS[verb])
    assert all(row.about for row in rows), "a setting without a description"
    for row in rows:
        assert f"{row.name} {row.default} {row.about.split()[0]}" in " ".join(words)
    assert f"mentee-export {verb}" in HELP or verb == "make"
