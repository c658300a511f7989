"""Both installs in a stranger's folder, full of the project's old names and of generic ones: nothing there is mistaken for the
project's, and the user's own modules stay theirs."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import TINY
from tests.packaging.conftest import Installed

BAIT = "raise RuntimeError(\"a file of the user's was imported in place of the project's\")\n"
NETS = """
from torch import nn
import data, objective, utils  # the user's own


class Tiny(nn.Module):
    def __init__(self, in_channels, num_classes, width=utils.WIDTH):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.features(x))
"""
SCRIPT = """
import distill, export, mentee, mentor, json
import configs, data, objective, utils
print(json.dumps([module.__file__ for module in (distill, export, mentee, mentor)]))
config = distill.compose(["schedule=obedient"])
print(json.dumps(config.schedule["_target_"]))
mentor.Mentor, mentee.PlainCNN, export.ExportSettings
"""


@pytest.fixture(params=["modules", "packages"])
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project of somebody else's: `configs/` and `export/` are folders of files, or packages; `data` a module or a package."""
    packages = request.param == "packages"
    files = {
        "configs/distill.yaml": "not: ours\n",
        "configs/mentor/digits_resnet.yaml": "not: ours\n",
        "data/__init__.py" if packages else "data.py": "",
        "objective.py": "",
        "demo.py": BAIT,
        "export/mine/manifest.json": "{}",  # a folder of bundles
        "utils/__init__.py": "WIDTH = 6\n",
        "my_nets.py": NETS,
        "script.py": SCRIPT,
    }
    if packages:
        files |= {"configs/__init__.py": "", "data/datasets.py": BAIT}
    folder = tmp_path / "theirs"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("mentee-distill", "--help"),
        ("mentee-evaluate", "--help"),
        ("mentee-export", "--help"),
        ("mentee-device", "--help"),
        ("python", "-m", "distill", "--help"),
        ("python", "-m", "export", "--help"),
        ("python", "-m", "mentee_device", "--help"),
        ("python", "-m", "distill", "schedule=obediant"),
    ],
    ids=" ".join,
)
def test_each_door_opens(installed: Installed, hostile: Path, words: tuple[str, ...]) -> None:
    before = sorted(hostile.rglob("*"))
    done = installed.run(words, hostile)
    if words[-1] == "--help":
        assert (done.returncode, done.stderr) == (0, "")
        assert "schedule: adamant, alone" in done.stdout or words[-2] not in ("distill", "mentee-distill")
    else:
        assert (done.returncode, done.stderr) == (
            2,
            "error: no 'obediant' for schedule; did you mean 'obedient'? " + known(),
        )
    assert [path for path in sorted(hostile.rglob("*")) if "__pycache__" not in path.parts] == before


def known() -> str:
    return "(known: adamant, alone, constant, gullible, independent, mnist5k, obedient, piecewise, two_stage)\n"


def test_a_script_imports_the_projects_packages_and_the_users_own(installed: Installed, hostile: Path) -> None:
    done = installed.run(["python", "script.py"], hostile)
    assert done.returncode == 0, done.stderr
    files, target = map(json.loads, done.stdout.splitlines())
    assert not any(Path(file).is_relative_to(hostile) for file in files)
    assert target == "distill.schedules.obedient"


@pytest.mark.parametrize(
    ("installed", "hostile", "exported"),
    [("wheels", "packages", True), ("editable", "modules", False)],
    indirect=["installed", "hostile"],
)
def test_a_network_of_the_users_own_is_distilled_judged_and_exported(
    installed: Installed, hostile: Path, exported: bool
) -> None:
    own = ["mentee=own", "mentee.network._target_=my_nets.Tiny", "probes=none", "run_dir=runs/mine"]
    given = [word for word in TINY if not word.startswith(("mentee.", "probes="))]
    checkpoint, bundle = "checkpoint=runs/mine/mentee.safetensors", "bundle=export/tiny"
    chain = [
        ["mentee-distill", *given, *own],
        ["python", "-m", "distill.evaluate.cli", checkpoint],
        ["mentee-export", checkpoint, bundle],
        ["mentee-device", "info", "--bundle", "export/tiny.zip"],
    ]
    for words in chain if exported else chain[:1]:
        done = installed.run(words, hostile)
        assert done.returncode == 0, done.stderr
