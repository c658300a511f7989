"""Hydra at the door: composes a typed configuration, checks every name in it, and turns a user's mistake into one line.

Imports neither torch nor Lightning, so that `--help` and a typo are answered at once.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_origin

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from mentor_mentee.config.explain import field_names, in_one_line, no_setting
from mentor_mentee.config.folder import CONFIGS
from mentor_mentee.config.help import Options, help_of, help_words, print_help
from mentor_mentee.config.launched import FAILED, folder_in_one_line, no_value, plugins_in_one_line, with_direction
from mentor_mentee.config.renamed import require_one_name, with_new_name
from mentor_mentee.config.settings_files import note_settings
from mentor_mentee.config.typed import as_typed, text_settings
from mentor_mentee.config.words import HELP, read_words
from mentor_mentee.errors import UserError
from mentor_mentee.interrupt import INTERRUPTED, while_importing
from mentor_mentee.output import quiet_when_unread

# OSError: what cannot be written or read.
MISTAKES = (UserError, HydraException, OmegaConfBaseException, OSError, YAMLError)


def run_cli(
    config_name: str,
    schema: type,
    check: Callable[[Any], None],
    act: Callable[[Any], object],
    usage: str = "",
    options: Options = MappingProxyType({}),
    essential: Sequence[str] = (),
) -> None:
    """Composes `configs/<config_name>.yaml` with the command line's overrides, and calls `check` and `act` with `schema`.

    `--help` prints `usage` and every setting with its default and its description, also those of the recipes in it; `options`
    are settings of free mappings that no recipe's signature shows: mapping -> name -> (default, description). With `essential`
    names it prints those alone, and what the other words speak of; `--help=all` and `--help=trainer` print more.

    Ends the process: 0 when `act` returns, 2 after a user's mistake (one line on standard error), 130 after Ctrl-C. In a sweep
    a run that fails leaves `failed.txt` in its folder and the others go on; 2 at the end.
    """
    if "" not in sys.path:
        sys.path.append("")  # a user's own network lies in the folder of the call, also under a console script
    asked, sections = help_words(sys.argv[1:])
    given = [as_typed(argument, text_settings(schema)) for argument in asked]
    arguments = with_direction(with_sweep_folder(given)) if "run_dir" in field_names(schema, "") else given
    sys.argv[1:] = [opened(argument, open_nodes(schema)) for argument in arguments]
    with quiet_when_unread(), mistakes_in_one_line(schema):
        require_one_name(given)
        words = read_words(sys.argv[1:], field_names(schema, ""))
        if HELP.intersection(words.options):
            whole = composed(config_name, schema, words.with_config_dir(), return_hydra_config=True)
            title = usage.rstrip() or f"Settings of {config_name}, as SETTING=VALUE"
            print_help(title, help_of(whole, schema, open_nodes(schema), options), sections, essential, words.overrides)
            return
    sys.argv[1:] = [*words.overrides, *words.options]
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing; the message is made here

    failures: list[str] = []
    shared = [*sys.argv]
    began: list[bool] = []

    def job(given: DictConfig) -> object:
        if "run_dir" in field_names(schema, ""):
            note_settings(given, resume=bool(given.get("resume")))
        config: Any = OmegaConf.to_object(given)
        require_known(config, schema)
        if hasattr(config, "run_dir"):
            config.run_dir = HydraConfig.get().runtime.output_dir  # of this job, also in a sweep
        with while_importing():  # the packages and the user's own modules that the settings name
            check(config)
        return act(config)

    @hydra.main(config_path=str(CONFIGS), config_name=config_name, version_base="1.3")
    def main(given: DictConfig) -> object:
        began.append(True)
        sys.argv[:] = shared  # in a process that a launcher's plugin started they are that one's
        with mistakes_in_one_line(schema):  # here too: Hydra would add lines of its own to what leaves the job
            if HydraConfig.get().mode is RunMode.MULTIRUN:
                folder = Path(HydraConfig.get().runtime.output_dir)
                return or_note_why_not(lambda: job(given), schema, folder, failures)
            return job(given)

    with quiet_when_unread(), mistakes_in_one_line(schema), plugins_in_one_line(), folder_in_one_line(began):
        main()
    if failures:
        sys.exit(2)


@contextmanager
def mistakes_in_one_line(schema: type) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # to quiet_when_unread
    except MISTAKES as error:
        print(f"error: {in_one_line(error, schema)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        resumes = "resume" in field_names(schema, "")
        more = (
            "; the finished epochs are saved (the same settings with run_dir=… resume=true go on from the last)"
            if resumes
            else ""
        )
        print(f"stopped{more}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def or_note_why_not(job: Callable[[], object], schema: type, folder: Path, failures: list[str]) -> object:
    """Prints what ends one run of a sweep, writes it into its folder and tells a sweeper; Ctrl-C ends them all."""
    note = folder / FAILED
    note.unlink(missing_ok=True)  # of an earlier sweep into the same folder
    try:
        return job()
    except BrokenPipeError:
        raise
    except MISTAKES as error:
        failures.append(in_one_line(error, schema))
        print(f"error: {in_sweep()}{failures[-1]}", file=sys.stderr)
    except Exception as error:
        failures.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
        if name := run_name():
            print(f"error: {name}: {failures[-1]}", file=sys.stderr)
        traceback.print_exc()
    note.write_text(f"{failures[-1]}\n")
    return no_value()


def run_name() -> str:
    """`run 3 (seed=2 schedule=alone)`: one of a sweep, by what it does not share with the others; else the empty string."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return ""
    shared = {word.lower() for word in sys.argv}  # Hydra writes False for false
    own = [word.lstrip("+") for word in HydraConfig.get().overrides.task if word.lower() not in shared]
    differing = f" ({' '.join(own)})" if own else ""
    return f"run {HydraConfig.get().job.num}{differing}"


def in_sweep() -> str:
    name = run_name()
    return f"{name}: " if name else ""


def composed(config_name: str, schema: type, overrides: Sequence[str], return_hydra_config: bool = False) -> DictConfig:
    """The configuration without a job of Hydra's around it. Hydra's and OmegaConf's errors pass."""
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        given = [as_typed(opened(override, open_nodes(schema)), text_settings(schema)) for override in overrides]
        return hydra.compose(config_name, given, return_hydra_config=return_hydra_config)


def open_nodes(schema: type, path: str = "") -> list[str]:
    """Dotted paths of the settings that are free mappings: their names are checked against a signature, not the schema."""
    found = []
    for field in fields(schema):
        here = f"{path}.{field.name}" if path else field.name
        if get_origin(field.type) is dict:
            found.append(here)
        elif is_dataclass(field.type) and isinstance(field.type, type):
            found += open_nodes(field.type, here)
    return found


def opened(argument: str, nodes: list[str]) -> str:
    """The argument as Hydra takes it: a renamed setting under its new name, and `data.val=100` as `++data.val=100`, so that an
    option which the YAML file leaves at its default can be set as any other; so `trainer.layer_rates={head.*: 0.1}`."""
    argument = with_new_name(argument)
    free = any(re.match(rf"{re.escape(node)}(\.[\w.]+=|=\{{)", argument) for node in nodes)
    return f"++{argument}" if free else argument


def with_sweep_folder(arguments: Sequence[str]) -> list[str]:
    """`-m run_dir=X` -> `-m hydra.sweep.dir=X`: in a sweep each run has a numbered folder in X.

    A `run_dir` that is not one plain folder, or beside which `hydra.sweep.dir` is given, stays: `require_no_run_dir`.
    """
    sweep, given = {"-m", "--multirun"}.intersection(arguments), any("hydra.sweep.dir=" in word for word in arguments)
    if not sweep or given:
        return [*arguments]
    return [re.sub(r"^(\+\+)?run_dir=(?=[^,($]+$)", "hydra.sweep.dir=", argument) for argument in arguments]


def require_no_run_dir(sweep: DictConfig) -> None:
    """Raises `UserError` for a `run_dir` among a sweep's overrides, which would move none of its runs."""
    overrides: Any = OmegaConf.to_container(sweep.hydra.overrides.task, resolve=False)
    for override in overrides:
        if re.match(r"\+*run_dir=", override):
            raise UserError(
                f"{override.lstrip('+')} in a sweep; expected one folder for all its runs, given once: -m run_dir=FOLDER, or "
                "hydra.sweep.dir=FOLDER without run_dir"
            )


def require_known(config: Any, schema: type, path: str = "") -> None:
    """Raises `UserError` for a name that the schema lacks: Hydra lets `+trainer.epoch=3` add any, which nothing would read."""
    for name, value in vars(config).items():
        at = f"{path}.{name}" if path else name
        if name not in field_names(schema, path):
            raise UserError(no_setting(at, schema))
        if is_dataclass(value):
            require_known(value, schema, at)
