"""Every command that a page shows exists: its settings compose and bind, its options parse, its modules are there."""

import importlib.util
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from mentee_device.cli.parser import make_parser

from distill.check import check_distill
from distill.schema import DistillConfig, EvaluateConfig
from export.__main__ import VERBS
from export.cli.arguments import parsed
from export.cli.bundles import InspectSettings, KeygenSettings, VerifySettings
from export.schema import ExportSettings, PreflightSettings, check_export, check_preflight
from fleet.__main__ import make_parser as fleet_parser
from mentor.serve.settings import ServeSettings, TokenSettings
from mentor_mentee.config.command_line import require_known
from mentor_mentee.config.compose import compose
from tests.docs.pages import PAGES, commands, name_of
from tests.paths import ROOT

SHOWN = sorted({tuple(words) for page in PAGES if page.name != "CHANGELOG.md" for words in commands(page.read_text())})
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
OTHERS = ("transformers",)  # packages that a page shows and nothing here needs
PLUGINS = {  # of the extra `sweep`
    "hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "hydra/launcher=submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "hydra/sweeper=optuna": "hydra_plugins.hydra_optuna_sweeper",
}
READING = {"inspect": InspectSettings, "verify": VerifySettings, "keygen": KeygenSettings}


@pytest.fixture(autouse=True)
def _a_users_own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text(
        "class Tiny:\n    def __init__(self, num_classes, in_channels):\n        pass\n\n\nclass Net(Tiny):\n    pass\n"
    )
    (tmp_path / "my_data.py").write_text("def birds():\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def composed(name: str, schema: type, check: Callable[..., None], words: Sequence[str]) -> None:
    """The first of each list of values of a sweep."""
    parser, overrides = OverridesParser.create(), []
    for word in (
        word.replace("=…", "=given") for word in words if word not in ("…", "-m") and not word.startswith("--help")
    ):
        override = parser.parse_override(word)
        sweep = override.is_sweep_override()
        overrides.append(f"{override.key_or_group}={first_of(override)}" if sweep else word)
    if name == "distill" and not any(word.startswith("run_dir=") for word in overrides):
        overrides.append("run_dir=runs/here")  # the default is made of Hydra's own choices, known only to a command
    config = compose(name, schema, overrides)
    require_known(config, schema)
    check(config)


def first_of(override: Override) -> object:
    value = override.value()
    return value.start if isinstance(value, IntervalSweep) else next(iter(override.sweep_string_iterator()))


def export(words: Sequence[str]) -> None:
    verb, *rest = words if words and "=" not in words[0] else ["make", *words]
    assert verb in (*VERBS, "settings"), f"no verb {verb}"
    if verb in READING:
        parsed(READING[verb], rest)
    elif verb == "preflight":
        composed("preflight", PreflightSettings, check_preflight, rest)
    elif verb == "make" and rest:
        composed("export", ExportSettings, check_export, rest)


def device(words: Sequence[str]) -> None:
    if words == ("--help",):
        return
    if "--bundle" in words:  # a whole command line
        make_parser().parse_args(words)
    else:  # one that is spoken of: `mentee-device settings --set NAME=VALUE`
        make_parser().parse_args([*words, "--bundle", "B", "--state", "S"])


def fleet(words: Sequence[str]) -> None:
    needed = [part for name in ("result", "base", "checkpoint", "bundle") for part in (f"--{name}", "given")]
    fleet_parser().parse_args(words if len(words) > 1 else [*words, *needed])  # `mentee-fleet release` is spoken of


def serve(words: Sequence[str]) -> None:
    token = words[:1] == ("token",)
    parsed(TokenSettings if token else ServeSettings, words[token:])


def module(name: str, words: Sequence[str]) -> None:
    known: dict[str, Callable[[Sequence[str]], None]] = {
        "distill": lambda rest: composed("distill", DistillConfig, check_distill, rest),
        "export": export,
        "mentee_device": device,
        "fleet": fleet,
        "mentor.serve": serve,
    }
    if name in known:
        known[name](words)
    else:
        assert importlib.util.find_spec(name) is not None, f"no module {name}"


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_a_command_that_is_shown_exists(words: tuple[str, ...]) -> None:
    program, rest = words[0], words[1:]
    for package in OTHERS:
        if any(f"={package}." in word or word.endswith(f"={package}") for word in words):
            pytest.importorskip(package)
    for plugin in PLUGINS.keys() & {*words}:
        pytest.importorskip(PLUGINS[plugin], reason="needs the extra sweep")
    if program == "make":
        goals = [word for word in rest if "=" not in word]
        assert set(goals) <= set(TARGETS)
    elif program == "python":
        assert rest[0] == "-m", "only modules are shown"
        module(rest[1], rest[2:])
    elif program == "mentee-device":
        device(rest)
    elif program == "mentee-evaluate":
        composed("evaluate", EvaluateConfig, lambda config: None, rest)  # its check asks for the files
    else:
        assert program in SCRIPTS
        module(SCRIPTS[program].split(".")[0], rest)


def test_the_pages_show_commands_of_every_kind() -> None:
    assert len(SHOWN) > 40
    assert {words[0] for words in SHOWN} >= {"make", "python", "mentee-device", "mentee-evaluate"}


def test_every_page_was_looked_at() -> None:
    assert {"README.md", "docs/bundle.md", "docs/experiments/index.md"} <= set(map(name_of, PAGES))
