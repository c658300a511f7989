"""One line from Hydra's or OmegaConf's many: what was wrong, and the name or the word that was probably meant."""

import re
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from mentor_mentee.config.folder import CONFIGS
from mentor_mentee.config.renamed import RENAMED, gone
from mentor_mentee.errors import did_you_mean

PLUGINS = {  # Hydra's own, by the names that its documentation gives them
    "hydra/launcher": {
        "joblib": "hydra-joblib-launcher",
        "submitit_local": "hydra-submitit-launcher",
        "submitit_slurm": "hydra-submitit-launcher",
        "ray": "hydra-ray-launcher",
        "ray_aws": "hydra-ray-launcher",
        "rq": "hydra-rq-launcher",
    },
    "hydra/sweeper": {
        "optuna": "hydra-optuna-sweeper",
        "ax": "hydra-ax-sweeper",
        "nevergrad": "hydra-nevergrad-sweeper",
    },
}


def in_one_line(error: Exception, schema: type) -> str:
    message = explain(error, schema) if isinstance(error, HydraException | OmegaConfBaseException) else str(error)
    return " ".join(message.split())


def explain(error: Exception, schema: type) -> str:
    """The message of an error of Hydra's or OmegaConf's, shortened."""
    if isinstance(error, MissingConfigException):
        return explain_missing_option(error)
    if isinstance(error, OverrideParseException):
        return f"'{error.override}' cannot be read; expected SETTING=VALUE, in quotes where it holds brackets, blanks or commas"
    cause: BaseException = error
    while isinstance(cause, ConfigCompositionException) and (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner  # a mistake in a YAML file is the context of what Hydra raises, one on the command line its cause
    message = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    unknown = re.search(r"[Kk]ey '(\w+)'", message)
    if unknown and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return no_setting(str(getattr(cause, "full_key", None) or unknown[1]), schema)
    if group := re.search(r"Could not override '(\w+)'\. No match in the defaults list", message):
        return no_setting(group[1], schema)
    if twice := re.search(r"Multiple values for ([\w/]+)\. .*'override [\w/]+: (\S+)'", message):
        return f"+{twice[1]}={twice[2]} adds to a setting that has a value already; write {twice[1]}={twice[2]}, without the +"
    if several := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", message):
        return (
            f"{several[1]}={several[2]} has several values; -m {several[1]}={several[2]} is a sweep over them, "
            f"'{several[1]}=[{several[2]}]' a list"
        )
    place = getattr(cause, "full_key", None)
    if isinstance(cause, MissingMandatoryValue):
        missing = place or message.rpartition(" ")[2]
        return f"{missing} is not set; give it as {missing}=…"
    return f"{place}: {message}" if place else message


def no_setting(at: str, schema: type) -> str:
    parent, _, key = at.rpartition(".")
    if new_name := RENAMED.get(at):
        there, _, name = new_name.rpartition(".")
        if name in field_names(schema, there):
            return f"no setting '{at}'; it is called {new_name} now"
    if (instead := gone(at)) is not None:
        return instead
    known, places = field_names(schema, parent), elsewhere(key, schema)
    meant = f"; did you mean {' or '.join(places)}?" if places else did_you_mean(key, known)
    return f"no setting '{at}'{meant} (known{f' in {parent}' if parent else ''}: {', '.join(known)})"


def elsewhere(key: str, schema: type) -> list[str]:
    """Where settings of this name stand, or of its new one, the shallowest first: `trainer.precision` and `mentor.precision`."""
    renamed = {new for old, new in RENAMED.items() if old.rpartition(".")[2] == key}
    found = [name for name in paths(schema) if name in renamed or name.rpartition(".")[2] == key]
    return sorted(found, key=lambda name: name.count("."))


def paths(schema: type, path: str = "") -> list[str]:
    """Dotted names of all settings of a schema."""
    here = [f"{path}.{name}" if path else name for name in field_names(schema, path)]
    return [name for one in here for name in (one, *paths(schema, one))]


def explain_missing_option(error: MissingConfigException) -> str:
    message = str(error)
    wanted = re.search(r"Could not find '([^']+)'", message)
    options = [str(option) for option in error.options or ()]
    if wanted and options:
        group, _, option = wanted[1].rpartition("/")
        if package := PLUGINS.get(group, {}).get(option):
            return f"no '{option}' for {group} here: its plugin is a package of its own; pip install {package}"
        return f"no '{option}' for {group}{did_you_mean(option, options)} (known: {', '.join(options)})"
    if loaded := re.search(r"Could not load '([^']+)'", message):
        group, _, option = loaded[1].rpartition("/")
        known = sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))
        if known:
            return (
                f"no '{option}' for {group}{did_you_mean(option, known)} (known: {', '.join(known)}; your own: "
                f"{group}.mine._target_=<package.Class>)"
            )
    if group := re.search(r"Could not override '([^']+)'", message):
        return f"no setting '{group[1]}'"
    return message.splitlines()[0]


def field_names(schema: type, path: str) -> list[str]:
    """Names of the settings under a dotted path of the schema."""
    here: Any = schema
    for part in path.split(".") if path else []:
        here = next((field.type for field in fields(here) if field.name == part), None) if is_dataclass(here) else None
    return [field.name for field in fields(here)] if is_dataclass(here) else []
