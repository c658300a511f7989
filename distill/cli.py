"""Hydra at the door: composes a typed configuration, checks every name in it, and turns a user's mistake into one line.

Imports neither torch nor Lightning, so that `--help` and a typo are answered at once.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from data.errors import UserError, did_you_mean

INTERRUPTED = 130


def run_cli(config_name: str, schema: type, check: Callable[[Any], None], act: Callable[[Any], object]) -> None:
    """Composes `configs/<config_name>.yaml` with the command line's overrides, and calls `check` and `act` with `schema`.

    Ends the process: 0 when `act` returns, 2 after a user's mistake (one line on standard error), 130 after Ctrl-C.
    """
    if "" not in sys.path:
        sys.path.insert(
            0, ""
        )  # a user's own network lies in the folder the command is called from, also under a console script
    ConfigStore.instance().store(name=f"{config_name}_schema", node=schema)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing; the message is made here

    @hydra.main(config_path="pkg://configs", config_name=config_name, version_base="1.3")
    def main(composed: DictConfig) -> object:
        config = OmegaConf.to_object(composed)
        check(config)
        return act(config)

    try:
        main()
    except UserError as error:
        fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        fail(explain(error, schema))
    except KeyboardInterrupt:
        print("stopped; what was finished is kept (resume=true goes on from the last epoch)", file=sys.stderr)
        sys.exit(INTERRUPTED)


def fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def explain(error: Exception, schema: type) -> str:
    """One line from Hydra's or OmegaConf's many, with the name that was probably meant."""
    if isinstance(error, MissingConfigException):
        return explain_missing_option(error)
    cause: BaseException = error
    while cause.__cause__ is not None and isinstance(error, ConfigCompositionException):
        cause = cause.__cause__
        if isinstance(cause, ConfigKeyError | ConfigAttributeError):
            break
    message = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    unknown = re.search(r"[Kk]ey '(\w+)'", message)
    if unknown and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        key = unknown[1]
        at = str(getattr(cause, "full_key", None) or key)
        parent = at.rpartition(".")[0]
        known = field_names(schema, parent)
        return f"no setting '{at}'{did_you_mean(key, known)} (known{f' in {parent}' if parent else ''}: {', '.join(known)})"
    return message


def explain_missing_option(error: MissingConfigException) -> str:
    message = str(error)
    wanted = re.search(r"Could not find '([^']+)'", message)
    options = [str(option) for option in error.options or ()]
    if wanted and options:
        group, _, option = wanted[1].rpartition("/")
        return f"no '{option}' for {group}{did_you_mean(option, options)} (known: {', '.join(options)})"
    if group := re.search(r"No match in the defaults list.|Could not override '([^']+)'", message):
        return f"no setting '{group[1]}'"
    return message.splitlines()[0]


def field_names(schema: type, path: str) -> list[str]:
    """Names of the settings under a dotted path of the schema."""
    here: Any = schema
    for part in path.split(".") if path else []:
        here = next((field.type for field in fields(here) if field.name == part), None) if is_dataclass(here) else None
    return [field.name for field in fields(here)] if is_dataclass(here) else []
