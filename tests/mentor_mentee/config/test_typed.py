"""The program gets a name as it was typed, whatever YAML or Hydra would make of it."""

from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import distill
from distill.schema import DistillConfig
from export.schema import ExportSettings
from mentor_mentee.config.typed import as_typed, text_settings
from mentor_mentee.data.load import load_data

SPELLINGS = (
    *("1e3", "true", "false", "null", "None", "007", "010", "0x1F", "1_000", "1.0", "1.", ".5", "-1", "+2", "1e", "e3"),
    *("nan", "inf", "-inf", "yes", "no", "on", "off", "TRUE", "Null", "2024-01-01", "12:30", "1.2.3", "3d", "a b"),
    *("anna", "Ünal", "O-1", "1E-5", "0", "9007199254740993"),
)


def read(argument: str) -> object:
    override = OverridesParser.create().parse_override(as_typed(argument, text_settings(DistillConfig)))
    return override.value()


@pytest.mark.parametrize("word", SPELLINGS)
@pytest.mark.parametrize("setting", ["data.classes", "data.owner_names", "data.val_owners", "++data.test_owners"])
def test_names_in_a_list_are_what_was_typed(setting: str, word: str) -> None:
    assert read(f"{setting}=[{word}, other,{word}]") == [word, "other", word]


@pytest.mark.parametrize("word", [word for word in SPELLINGS if word.lower() != "null"])
@pytest.mark.parametrize("setting", ["data.root", "data.labels", "data.test_owners", "run_dir", "mentor.weights"])
def test_so_is_a_single_name(setting: str, word: str) -> None:
    assert read(f"{setting}={word}") == word


@pytest.mark.parametrize(
    "argument",
    [
        *("data.seed=1e3", "trainer.class_balance=true", "data.val_owners=null", "data.classes='1e3'", "seed=[1,2]"),
        *(
            "data.classes=choice([1e3],[2])",
            "run_dir=${hydra:job.num}",
            "data.classes=[\"1e3\",'a,true']",
            "~data.root",
        ),
        *("data.classes={a:1}", "data.classes=['1", "schedule.alpha=[[0,1],[1,0]]", "--help", "probes=auto"),
    ],
)
def test_what_is_no_name_or_is_said_otherwise_stays(argument: str) -> None:
    assert as_typed(argument, text_settings(DistillConfig)) == argument


def test_a_sweep_over_names_has_as_many_choices() -> None:
    argument = as_typed("data.test_owners=7,1e3,[007,true]", text_settings(DistillConfig))
    assert argument == "data.test_owners='7','1e3',['007','true']"
    override = OverridesParser.create().parse_override(argument)
    assert override.is_sweep_override()
    assert len(list(override.sweep_iterator())) == 3


def test_layers_with_numbers_for_names_can_be_probed() -> None:
    assert read("probes.first=[0,2]") == ["0", "2"]
    assert read("probes.first={mentor:0,mentee:0,normalise:true}") == {"mentor": 0, "mentee": 0, "normalise": True}


@pytest.mark.parametrize("name", ["_auto_", "_normalise_"])
def test_a_switch_among_the_probes_is_one(name: str) -> None:
    assert read(f"probes.{name}=true") is True
    assert read(f"++probes.{name}=false") is False
    config = distill.compose([f"probes.{name}=true"])
    assert config.probes[name] is True


def test_settings_of_type_text_are_found_in_every_schema() -> None:
    assert {"run_dir", "cache_dir", "mentor.weights", "mentee.head", "data.classes"} <= text_settings(DistillConfig)
    assert not {"seed", "trainer.max_epochs", "data", "resume"} & text_settings(DistillConfig)
    assert "sign_key" in text_settings(ExportSettings)


@pytest.mark.parametrize("words", [("1e3", "true"), ("007", "no"), ("null", "1.0")])
def test_from_the_command_line_to_the_classes_of_a_data_set(tmp_path: Path, words: tuple[str, str]) -> None:
    path = tmp_path / "some.npz"
    labels = np.array(words)[np.arange(60) % 2]
    owners = np.array(["anna", "2", "1e1"])[np.arange(60) // 20]
    inputs = np.arange(240, dtype=np.float32).reshape(60, 4)
    np.savez(path, inputs=inputs, labels=labels, numbers=np.arange(60) % 2, owners=owners)
    common = ["data=arrays", f"data.path={path}", f"data.classes=[{','.join(words)}]", "data.owners=owners"]
    common += ["data.test_owners=[2]", "data.val_owners=[1e1]"]
    for column in ("labels", "numbers"):
        config = distill.compose([*common, f"data.labels={column}"])
        splits = load_data(config.data)
        assert splits.classes == words
        assert splits.test.positions.tolist() == list(range(20, 40))
        assert splits.val.positions.tolist() == list(range(40, 60))
