"""The folder of the YAML files: in `configs/` of a checkout, in `mentor_mentee/configs/` where the wheel was installed."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if (path / "distill.yaml").is_file())
