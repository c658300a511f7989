"""The lines that the README and the library's page show run as they stand, with two files of a user's beside them."""

import re
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

NETS = """
from torch import Tensor, nn

class Large(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(16 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))

class Small(Large):
    def __init__(self) -> None:
        super().__init__(4)
"""
DATA = """
from torch.utils.data import DataLoader, TensorDataset
from mentor_mentee.data.datasets import digits

every = digits()
train_loader, val_loader, test_set = (
    DataLoader(TensorDataset(every.train.images[:200], every.train.labels[:200]), 64, shuffle=True),
    DataLoader(TensorDataset(every.val.images, every.val.labels), 64),
    TensorDataset(every.test.images, every.test.labels),
)
"""
FEWER = {"max_epochs=20": "max_epochs=1", "std=[0.25])": "std=[0.25], least_accuracy=0)"}  # the mentor is untrained


def block(page: str, number: int = 0) -> str:
    """Python lines of a page."""
    return str(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[number])


@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_the_lines_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme, page = block("README.md"), block("docs/library.md")
    assert len([line for line in readme.splitlines() if line.strip()]) <= 12
    assert {line.strip() for line in readme.splitlines()} - {
        line.partition("  #")[0] for line in page.splitlines()
    } == {
        "import distill, export",
        "from mydata import train_loader, val_loader",
        'data = {"train": train_loader, "val": val_loader}',
    }
    (tmp_path / "mynets.py").write_text(NETS)
    (tmp_path / "mydata.py").write_text(DATA)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("mynets", "mydata"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    lines = page
    for given, smaller in FEWER.items():
        assert given in lines
        lines = lines.replace(given, smaller)
    script = {"__name__": "mine"}
    exec(compile(lines, "docs/library.md", "exec"), script)
    cached = block("docs/library.md", 1).replace("cache_dir", "least_accuracy=0, cache_dir")
    assert "cache_dir" in cached
    exec(compile(cached, "docs/library.md", "exec"), script)
    assert len(list(Path(".cache/answers").iterdir())) >= 2  # a file of the logits, and one of each probe
    assert {path.name for path in Path("models/mine").iterdir()} == {"README.md", "mentee.safetensors"}
    assert Path("bundles/mine/manifest.json").is_file()
    card = Path("bundles/mine/README.md").read_text()
    assert "| network | `Small()` |" in card
    assert "| data | a DataLoader of a script, not named |" in card
    assert "| test samples, through inference.onnx |" in card
