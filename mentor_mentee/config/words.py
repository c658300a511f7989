"""The words of a command line: Hydra's own options, and the overrides among them."""

import io
import re
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

from hydra._internal.utils import get_args_parser

from mentor_mentee.config.folder import CONFIGS
from mentor_mentee.errors import UserError

HELP = {"-h", "--help"}


class Words(NamedTuple):
    """`options` are Hydra's, with their values; `config_dir` is one of them."""

    overrides: list[str]
    options: list[str]
    config_dir: str | None

    def with_config_dir(self) -> list[str]:
        """The overrides, and the folder of `--config-dir` as one of them. Raises `UserError` where there is no such folder."""
        if self.config_dir is None:
            return self.overrides
        folder = Path(self.config_dir).absolute()
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; expected one of YAML files in --config-dir")
        return [*self.overrides, f"hydra.searchpath=[{folder}]"]


def read_words(given: Sequence[str], settings: Collection[str] = ()) -> Words:
    """In whichever order they came, which Hydra does not allow. Raises `UserError` for an option that Hydra lacks, or whose value
    is none: Hydra would print its usage. `settings`: names that are no options, for a suggestion."""
    for word in given:  # before argparse sees them
        require_setting(word, settings)
        require_files_name(word)
    with redirect_stderr(io.StringIO()) as said:
        try:
            found, rest = get_args_parser().parse_known_args(given)
        except SystemExit as end:
            if not end.code:
                raise  # --version
            message = said.getvalue().strip().rpartition("error: ")[2]
            raise UserError(f"{message}; a setting is given as SETTING=VALUE (see --help)") from None
    if unknown := [word for word in rest if word.startswith("-")]:
        raise UserError(f"no option {unknown[0]}; a setting is given as SETTING=VALUE, without dashes (see --help)")
    if found.shell_completion and not any(
        re.match(r"(install|uninstall|query)=", word) for word in rest + found.overrides
    ):
        raise UserError(
            f"{given[0]} installs the shell's completion; write -sc install=bash, -sc uninstall=bash or neither"
        )
    overrides = [*found.overrides, *rest]
    return Words(overrides, [word for word in given if word not in overrides], found.config_dir)


def require_setting(word: str, settings: Collection[str]) -> None:
    """Raises `UserError` for `=3`, which names none, and for one behind a dash, which argparse would take apart."""
    if word.startswith("="):
        raise UserError(f"'{word}' names no setting; expected SETTING=VALUE, without blanks around the =")
    dashed = re.match(r"-+((\w+)[\w.]*)(=?)(.*)", word, re.DOTALL)
    if dashed and dashed[2] in settings:
        value = dashed[4] if dashed[3] else "…"
        raise UserError(f"no option {word.partition('=')[0]}; a setting is given without dashes: {dashed[1]}={value}")


def require_files_name(word: str) -> None:
    """Raises `UserError` for `logger=false` or `callbacks=null`: no name for YAML, and Hydra would raise a `ValueError`."""
    group, _, given = word.lstrip("+").partition("=")
    known = sorted(file.stem for file in (CONFIGS / group).glob("*.yaml")) if group.isidentifier() else []
    values = [each.strip() for each in given.strip("[]").split(",")]
    if known and any(re.fullmatch(r"null|true|false|[-+]?\d[\d.]*", each, re.IGNORECASE) for each in values):
        none = f"; {group}=[] is none of them" if group in ("callbacks", "logger") else ""
        raise UserError(f"{word} is no name; expected one of {', '.join(known)}{none}")
