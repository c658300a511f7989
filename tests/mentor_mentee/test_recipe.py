"""Recipes are checked against signatures, without importing what is heavy."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mentor_mentee.errors import UserError
from mentor_mentee.recipe import build, check_recipe, completed, signature_in_source, split_target
from tests.cli.conftest import environment
from tests.paths import ROOT

CNN = {"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 3}

SOURCE = """
from dataclasses import dataclass
from typing import overload

class Plain:
    def __init__(self, a, b=2, *, c, d=4):
        self.made = (a, b, c, d)

class Inherits(Plain):
    pass

@dataclass
class Data:
    x: int
    y: int = 5

@overload
def either(a: int) -> int: ...
@overload
def either(a: str, b: int) -> str: ...
def either(a, b=0):
    return (a, b)

def anything(a, **rest):
    return (a, rest)

def variadic(*args, key=1):
    return (args, key)

number = 3
if True:
    def conditional(p, q=1):
        return (p, q)
"""


@pytest.fixture
def own(own_module: Callable[[str], str]) -> str:
    return own_module(SOURCE)


def test_a_mistyped_option_names_the_one_that_was_meant_and_all_there_are() -> None:
    with pytest.raises(
        UserError, match=r"^mentee\.network: 'mentee\.networks\.PlainCNN' has no option 'widhts'"
    ) as error:
        check_recipe(CNN | {"widhts": [4]}, "mentee.network")
    assert "did you mean 'widths'?" in str(error.value)
    assert "(it has batch_norm, flatten, in_channels, num_classes, pool, pools, width, widths)" in str(error.value)


def test_names_that_stand_beside_the_recipe_are_suggested_too() -> None:
    with pytest.raises(UserError, match="did you mean 'labels_per_class'"):
        check_recipe(
            {"_target_": "mentor_mentee.data.datasets.digits", "labels_per_clas": 3}, "data", also=["labels_per_class"]
        )


def test_a_missing_option_is_named_with_the_setting_that_gives_it() -> None:
    short = {"_target_": "mentee.networks.PlainCNN", "in_channels": 1}
    with pytest.raises(UserError, match=r"needs num_classes; set mentee\.network\.num_classes="):
        check_recipe(short, "mentee.network")
    check_recipe(short, "mentee.network", frozenset({"num_classes"}))
    with pytest.raises(UserError, match="needs num_classes"):
        build(short, "mentee.network")


def test_a_target_is_called_with_its_options() -> None:
    network = build(CNN | {"widths": [2, 5]}, "mentee.network")
    assert [tuple(p.shape) for n, p in network.named_parameters() if n == "features.1.1.weight"] == [(5, 2, 3, 3)]
    assert (
        build({"_target_": "mentee.networks:PlainCNN", "in_channels": 1, "num_classes": 7}, "x").head.out_features == 7
    )


@pytest.mark.parametrize("target", ["Plain", "Inherits"])
def test_keyword_only_options_are_required_unless_they_have_a_default(own: str, target: str) -> None:
    with pytest.raises(UserError, match=r"needs a, c;"):
        check_recipe({"_target_": f"{own}.{target}", "b": 1}, "x")
    assert build({"_target_": f"{own}.{target}", "a": 1, "c": 3}, "x").made == (1, 2, 3, 4)


def test_what_the_source_does_not_show_is_imported(own: str) -> None:
    assert signature_in_source(own, "Plain") == ({"a", "b", "c", "d"}, {"a", "c"}, False, set(), {})
    for name in ("Inherits", "Data", "conditional", "number"):
        assert signature_in_source(own, name) is None
    assert vars(build({"_target_": f"{own}.Data", "x": 1}, "x")) == {"x": 1, "y": 5}
    assert build({"_target_": f"{own}.conditional", "p": 1}, "x") == (1, 1)
    with pytest.raises(UserError, match=r"has no option 'r' \(it has p, q\)"):
        check_recipe({"_target_": f"{own}.conditional", "p": 1, "r": 2}, "x")
    with pytest.raises(UserError, match="has no option 'z'"):
        check_recipe({"_target_": f"{own}.Data", "x": 1, "z": 2}, "x")


def test_of_several_definitions_the_last_counts(own: str) -> None:
    assert build({"_target_": f"{own}.either", "a": "1", "b": 2}, "x") == ("1", 2)


def test_a_target_that_takes_anything_takes_any_option_but_still_needs_its_own(own: str) -> None:
    assert build({"_target_": f"{own}.anything", "a": 1, "b": 2}, "x") == (1, {"b": 2})
    with pytest.raises(UserError, match="needs a;"):
        check_recipe({"_target_": f"{own}.anything", "b": 2}, "x")
    with pytest.raises(UserError, match="has no option 'args'"):
        check_recipe({"_target_": f"{own}.variadic", "args": 2}, "x")
    resnet = {"_target_": "torchvision.models.resnet18", "num_classes": 4}
    check_recipe(resnet, "mentor.network")
    assert build(resnet, "mentor.network").fc.out_features == 4


def test_only_what_the_signature_names_is_completed() -> None:
    known = {"num_classes": 9, "in_channels": 2}
    recipe = {"_target_": "mentee.networks.PlainCNN", "in_channels": 1}
    assert completed(recipe, "x", **known) == recipe | {"num_classes": 9}  # what is given stays
    other = {"_target_": "distill.schedules.constant", "alpha": 1}
    assert completed(other, "x", **known) == other


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mentee.networks.PlainCnn", r"no 'PlainCnn' in 'mentee\.networks'; did you mean 'PlainCNN'"),
        ("mentee.network.PlainCNN", r"no module 'mentee\.network' for"),
        ("nowhere_at_all.Net", r"no module 'nowhere_at_all' .*PYTHONPATH"),
        ("mentee.networks.PlainCNN.forward", "no module"),
        *(
            (bad, "expected 'package.module.callable'")
            for bad in ("PlainCNN", ".foo", "foo.", "a..b", ":", "", "a/b.c")
        ),
        (None, "expected 'package.module.callable'"),
        (3, "expected 'package.module.callable'"),
    ],
)
def test_a_target_that_cannot_be_found_is_an_error_of_the_users(target: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"mentor\.network\._target_.*{message}"):
        check_recipe({"_target_": target}, "mentor.network")


def test_a_value_that_is_not_callable_is_no_target(own: str) -> None:
    with pytest.raises(
        UserError,
        match=r"x\._target_: 'number' in '.*' is a int, which cannot be called; expected a class or a function",
    ):
        check_recipe({"_target_": f"{own}.number"}, "x")


def test_a_recipe_without_a_target_is_an_error() -> None:
    with pytest.raises(UserError, match=r"schedule\._target_ is None"):
        check_recipe({}, "schedule")


OLD_TARGETS = [
    *(f"data.datasets.{name}" for name in ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")),
    "data.arrays.arrays",
    "data.image_folder.image_folder",
]


def test_every_data_set_of_before_is_found_where_it_lies_now() -> None:
    for target in OLD_TARGETS:
        module, name = split_target({"_target_": target}, "data")
        assert module == f"mentor_mentee.{target.rpartition('.')[0]}"
        assert signature_in_source(module, name) is not None


THEIRS = "def digits(own): return ('theirs', own)\n"


@pytest.mark.parametrize(
    ("files", "theirs"),
    [
        pytest.param({"data/__init__.py": "", "data/datasets.py": THEIRS}, True, id="a package"),
        pytest.param({"data/datasets.py": THEIRS}, True, id="a folder"),
        pytest.param({"data.py": ""}, False, id="a module data"),
        pytest.param({"data.py": "", "datasets.py": THEIRS}, False, id="a module beside it"),
        pytest.param({"data/__init__.py": "", "data/other.py": THEIRS}, False, id="another module"),
    ],
)
def test_a_users_own_module_of_an_old_name_wins(files: dict[str, str], theirs: bool, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    code = """if True:
        from mentor_mentee.recipe import split_target, build
        print(split_target({"_target_": "data.datasets.digits"}, "data")[0])
        if split_target({"_target_": "data.datasets.digits"}, "data")[0] == "data.datasets":
            print(build({"_target_": "data.datasets.digits", "own": 3}, "data"))
    """
    expected = ["data.datasets", "('theirs', 3)"] if theirs else ["mentor_mentee.data.datasets"]
    assert fresh(code, tmp_path).splitlines() == expected


def fresh(code: str, folder: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_checking_our_own_targets_imports_neither_torch_nor_lightning() -> None:
    code = """if True:
        import sys
        from mentor_mentee.errors import UserError
        from mentor_mentee.data.load import check_data
        from mentor_mentee.recipe import check_recipe
        check_recipe({"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 3}, "mentee.network")
        check_recipe({"_target_": "mentor.networks.ResidualNet", "in_channels": 1, "num_classes": 3}, "mentor.network")
        check_recipe({"_target_": "distill.schedules.obedient", "representation": 1, "convergence": 1, "temperature": 4},
                     "schedule")
        check_data({"_target_": "mentor_mentee.data.datasets.mnist", "root": "x", "labels_per_class": 3})
        try:
            check_data({"_target_": "mentor_mentee.data.datasets.mnist", "rot": "x"})
        except UserError as error:
            print(error)
        print([name for name in ("torch", "pytorch_lightning", "torchvision", "sklearn") if name in sys.modules])
    """
    message, imported = fresh(code).splitlines()
    assert "did you mean 'root'?" in message
    assert imported == "[]"


def test_a_class_of_the_script_itself_is_a_target() -> None:
    code = """if True:
        from mentor_mentee.recipe import build
        class Net:
            def __init__(self, width):
                self.width = width
        print(build({"_target_": "__main__.Net", "width": 3}, "mentee.network").width)
    """
    assert fresh(code) == "3"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("image_folder.image_folder root=x size=[12,16]", r"data.size=\[12, 16\]; expected a whole number$"),
        ("image_folder.image_folder root=x size=12.5", "data.size=12.5; expected a whole number$"),
        ("image_folder.image_folder root=x size=true", "data.size=True; expected a whole number$"),
        ("image_folder.image_folder root=2024 size=8", "data.root=2024; expected text"),
        ("image_folder.image_folder root=x size=8 val_fraction=much", "data.val_fraction='much'; expected a number$"),
        ("image_folder.image_folder root=x size=8 unlabelled=3", "data.unlabelled=3; expected text .* or null$"),
        ("datasets.mnist root=x val=[1]", r"data.val=\[1\]; expected a whole number$"),
        ("arrays.arrays path=x seed=a", "data.seed='a'; expected a whole number$"),
        ("arrays.arrays path=x by_owner=3", "data.by_owner=3; expected true or false$"),
    ],
)
def test_an_option_of_another_kind_is_told_before_anything_is_read(data: str, message: str) -> None:
    import yaml  # type: ignore[import-untyped]

    target, *options = data.split()
    given = {name: yaml.safe_load(value) for name, _, value in (option.partition("=") for option in options)}
    with pytest.raises(UserError, match=message):
        check_recipe({"_target_": f"mentor_mentee.data.{target}", **given}, "data")


def test_every_shipped_recipe_passes_under_its_own_annotations() -> None:
    """A whole number where a fraction is annotated, null where that is allowed."""
    check_recipe(
        {"_target_": "mentor_mentee.data.image_folder.image_folder", "root": "x", "size": 8, "val_fraction": 1}, "d"
    )
    check_recipe({"_target_": "mentor_mentee.data.arrays.arrays", "path": "x", "layout": None, "seed": 3}, "d")
    check_recipe({"_target_": "mentee.networks.PlainCNN", "in_channels": 1, "num_classes": 2, "widths": [4]}, "d")
