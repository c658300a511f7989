"""`--help`: the settings that a first run is about, `--help=trainer` those of a group, `--help=all` every one."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from mentor_mentee.config.explain import field_names
from mentor_mentee.config.recipe_help import recipe_rows
from mentor_mentee.config.settings_help import Described, choices, described, for_terminal, written
from mentor_mentee.errors import UserError, did_you_mean

Options = Mapping[str, Mapping[str, tuple[Any, str]]]
ALL = "all"


class Help(NamedTuple):
    rows: list[Described]  # every setting, with the default that it has beside the words of the command line
    files: dict[str, list[str]]  # names of the YAML files that a setting chooses from


def help_words(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words with `--help` in place of each `--help=SECTION`, and the sections."""
    sections = [word.partition("=")[2] for word in arguments if word.startswith("--help=")]
    return ["--help" if word.startswith("--help=") else word for word in arguments], sections


def help_of(whole: DictConfig, schema: type, nodes: Collection[str], options: Options) -> Help:
    """`whole`: composed with Hydra's own part; `nodes`: its free mappings; `options`: theirs that no signature shows."""
    values: Any = OmegaConf.to_container(whole, resolve=False)
    chosen = values.pop("hydra")["runtime"]["choices"]
    inside = {node: option_rows(values, node, options.get(node, {})) for node in nodes}
    values |= {name: chosen[name] for name in field_names(schema, "") if chosen.get(name) and name in inside}
    rows = [row for setting in described(schema, values) for row in (setting, *inside.get(setting.name, ()))]
    takes_files = {*chosen, *field_names(schema, "")}  # of an export `optimizer.schedule` is a setting, and takes none
    return Help(rows, {name: names for name, names in choices(schema).items() if name in takes_files})


def option_rows(values: Any, node: str, more: Mapping[str, tuple[Any, str]]) -> list[Described]:
    """Settings inside a free mapping: those of the recipe that stands there, and `more`."""
    given = values
    for part in node.split("."):
        given = given[part]
    own = [Described(f"{node}.{name}", written(given.get(name, value)), about) for name, (value, about) in more.items()]
    return [*(recipe_rows(given, node) if "_target_" in given else []), *own]


def print_help(
    title: str, found: Help, sections: Sequence[str], essential: Sequence[str], words: Sequence[str]
) -> None:
    """Raises `UserError` for a section that is none."""
    rows = wanted(found.rows, sections, essential, words)
    print(f"{title}\n\n{for_terminal(rows)}")
    if found.files and not sections:
        print("\nSettings that a file in configs/ fills in, as SETTING=FILE:")
        print("\n".join(f"{name}: {', '.join(names)}" for name, names in found.files.items()))
    if len(rows) < len(found.rows):
        print(
            f"\n{len(rows)} of {len(found.rows)} settings: --help=all prints every one, --help=trainer those of a group."
        )
    print("\n--cfg job prints the configuration as it would run; --hydra-help says what else Hydra can do.")


def wanted(
    rows: Sequence[Described], sections: Sequence[str], essential: Sequence[str], words: Sequence[str]
) -> list[Described]:
    """The rows of `sections`; without any the `essential` ones, and those below a setting that a word gives."""
    names = dict.fromkeys(part for row in rows for part in above(row.name))
    for section in sections:
        if section not in names and section != ALL:
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise UserError(
                f"--help={section}: no such settings{did_you_mean(section, names)} (there are {ALL}, {known})"
            )
    if ALL in sections or not (sections or essential):
        return list(rows)
    spoken_of = {word.lstrip("+").partition("=")[0] for word in words if "=" in word and not word.startswith("-")}
    under = {*sections} if sections else spoken_of
    return [row for row in rows if under.intersection(above(row.name)) or (not sections and row.name in essential)]


def above(name: str) -> list[str]:
    """`trainer.mix.mixup` -> trainer, trainer.mix, trainer.mix.mixup."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]
