"""The packages as a library: a user's script in a folder of its own, no command line."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, environment
from tests.paths import ROOT

SCRIPT = f"""
import sys
from pathlib import Path
import distill, export, mentee, mentor
assert not {{"torch", "pytorch_lightning", "hydra", "onnx"}} & set(sys.modules), "an import costs nothing"

config = distill.compose({TINY!r} + ["seed=3"])
result = distill.distill(config)
checkpoint = mentee.MenteeCheckpoint.load(result.checkpoint_path)
assert isinstance(checkpoint.network(), mentee.PlainCNN)
assert isinstance(mentor.restore_mentor(checkpoint.mentor, ()), mentor.Mentor)

found = distill.evaluate_checkpoints(distill.EvaluateConfig(checkpoint=str(result.checkpoint_path)))
assert found.runs[0].mentee.accuracy == result.mentee.accuracy
made = export.export_bundle(checkpoint, Path("bundle"), export.ExportSettings())
assert {{check.passed for check in export.verify(Path("bundle"))}} == {{True, None}}, "the bundle proves itself"
print(result.checkpoint_path, isinstance(made, export.Exported))
"""

MISTAKE = """
import distill
try:
    distill.compose(["trainer.epoch=3"])
except Exception as error:
    print(type(error).__name__, error)
"""


def script(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(code)
    return subprocess.run(
        [sys.executable, "mine.py"], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def test_a_script_distils_evaluates_and_exports(tmp_path: Path) -> None:
    done = script(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "runs/distill/mentee.safetensors True"
    assert {path.name for path in tmp_path.iterdir()} == {"mine.py", "runs", "bundle", "bundle.zip", ".cache"}


def test_a_scripts_mistake_is_one_line_with_the_name_that_was_meant(tmp_path: Path) -> None:
    done = script(MISTAKE, tmp_path)
    assert done.stdout.startswith(
        "UserError no setting 'trainer.epoch'; did you mean 'max_epochs'? (known in trainer: "
    )


@pytest.mark.parametrize("package", ["distill", "export", "mentor", "mentee"])
def test_what_a_package_offers_is_there_under_the_name_that_a_type_checker_sees(package: str) -> None:
    module = import_module(package)
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name: node.module for node in typed.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert set(dir(module)) == set(seen)
    for name, home in seen.items():
        assert home is not None
        assert getattr(module, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
