"""Generates what the pages take from the code: tables of settings, options of commands, the Python API.

{settings} package.module:Dataclass      name, default and description of each field; `:only: a b` and `:without: a b` choose;
                                         `:config: distill:trainer` shows the defaults of the YAML files
{options} package.module:function        commands of the argparse parser that the function makes; `:command:` options of one
{layers} package.module:GROUPS           verdicts on layers of torch.nn, a table for each group
{api} package                            all public names of a package or module, with their docstrings
{loop-steps} {loop-packages}             tables of training_loop.py: the steps, the languages
{loop-program} language                  a language's code, step by step
"""

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import training_loop
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def load(reference: str) -> Any:
    """`package.module:name` -> the object."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def words(text: str | None) -> list[str]:
    return (text or "").split()


class SettingsTable(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {
        "only": directives.unchanged,
        "without": directives.unchanged,
        "prefix": directives.unchanged,
        "config": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        from mentor_mentee.config.settings_help import as_markdown, described

        only, without = words(self.options.get("only")), words(self.options.get("without"))
        try:
            schema = load(self.arguments[0])
        except (ImportError, AttributeError) as error:
            raise self.error(f"{self.arguments[0]}: {error}") from error
        rows = [
            row
            for row in described(schema, composed_values(self.options.get("config")), self.options.get("prefix", ""))
            if (not only or under(row.name, only)) and not under(row.name, without)
        ]
        if missing := [row.name for row in rows if not row.about]:
            raise self.error(f"{self.arguments[0]}: no description of {', '.join(missing)}")
        return self.parse_text_to_nodes(as_markdown(rows))


def composed_values(place: str | None) -> Any:
    """`distill:trainer` -> the part of that configuration as its YAML files fill it in; None for the schema's own defaults."""
    if place is None:
        return None
    from omegaconf import OmegaConf

    from distill.schema import DistillConfig
    from mentor_mentee.config.command_line import composed

    name, _, path = place.partition(":")
    values: Any = OmegaConf.to_container(composed(name, DistillConfig, []), resolve=False)
    for part in path.split(".") if path else []:
        values = values[part]
    return values


def under(name: str, chosen: list[str]) -> bool:
    """Whether a dotted name is one of those chosen, or a setting inside one of them."""
    return any(name == one or name.startswith((f"{one}.", f"{one}[]")) for one in chosen)


class OptionsTable(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"command": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        from mentor_mentee.config.settings_help import literal

        parser: argparse.ArgumentParser = load(self.arguments[0])()
        commands = subcommands(parser)
        command = self.options.get("command")
        if command is None:
            rows = [(f"`{name}`", literal(about)) for name, (_, about) in commands.items()]
            return self.parse_text_to_nodes(markdown(("command", "what it does"), rows))
        shared = set.intersection(*({action.dest for action in one._actions} for one, _ in commands.values()))
        rows = [
            (f"`{', '.join(action.option_strings) or action.metavar or action.dest}`", literal(action.help or ""))
            for action in commands[command][0]._actions
            if action.dest not in shared
        ]
        if missing := [name for name, about in rows if not about]:
            raise self.error(f"{command}: no description of {', '.join(missing)}")
        return self.parse_text_to_nodes(markdown(("option", "what it does"), rows))


def subcommands(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Name -> parser and description, those that the help hides left out."""
    group = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    about = {choice.dest: choice.help or "" for choice in group._choices_actions}
    return {name: (group.choices[name], line) for name, line in about.items() if line != argparse.SUPPRESS}


class LayersTable(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        parts = []
        for group in load(self.arguments[0]):
            rows = [(f"`{layer}`", verdict.words) for layer, verdict in group.layers.items()]
            parts.append(f"**{group.title}**\n\n{markdown(('layer', 'on the device'), rows)}")
        return self.parse_text_to_nodes("\n\n".join(parts))


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


class Api(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package = self.arguments[0]
        module = importlib.import_module(package)
        lazily = "__getattr__" in vars(module)  # then `__dir__` names what is public
        names = getattr(module, "__all__", None) or (dir(module) if lazily else own_names(module))
        if not names:
            raise self.error(f"{package} has nothing public")
        lines = [f".. automodule:: {package}", ""]
        for name in names:
            value = getattr(module, name)
            lines += [f".. auto{kind(value)}:: {package}.{name}", *members(value), ""]
        text = "\n".join(lines)
        return self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}\n```")


class LoopSteps(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        rows = [
            (str(number), f"**{step.title}**" + " \\*" * step.extra, step.sentence)
            for number, step in enumerate(training_loop.STEPS, 1)
        ]
        return self.parse_text_to_nodes(markdown(("", "step", "what it does"), rows))


class LoopPackages(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        rows = [
            (
                f"[{one.title}](#{one.title.lower().replace(' ', '-').replace('+', '')})",
                one.package,
                one.versions,
                one.proof,
            )
            for one in training_loop.LANGUAGES
        ]
        return self.parse_text_to_nodes(markdown(("for", "package", "version", "its program below is"), rows))


class LoopProgram(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        one = training_loop.language(self.arguments[0])
        lexer = one.files[-1].rpartition(".")[2].replace("mjs", "js").replace("kt", "kotlin")
        for file in one.files:
            self.env.note_dependency(str(training_loop.PROGRAMS / file))
        try:
            code = training_loop.blocks(one)
        except ValueError as error:
            raise self.error(str(error)) from error
        parts = [f"**{n}. {title}**\n\n```{lexer}\n{text}\n```" for n, (title, text) in enumerate(code.items(), 1)]
        return self.parse_text_to_nodes("\n\n".join(parts))


def members(value: Any) -> list[str]:
    """Options of autodoc: methods and properties of a class, not the fields of a NamedTuple, which have no docstrings."""
    if not inspect.isclass(value) or issubclass(value, BaseException):
        return []
    fields = getattr(value, "_fields", ())
    return ["   :members:", *([f"   :exclude-members: {', '.join(fields)}"] if fields else []), *of_parts(value)]


def of_parts(value: type) -> Iterator[str]:
    """Directives for what a class has from classes of its own package, of which it is put together, in their order."""
    package = value.__module__.rpartition(".")[0]
    for part in value.__mro__[1:]:
        if part.__module__.rpartition(".")[0] == package:
            for name, member in vars(part).items():
                if not name.startswith("_") and getattr(member, "__doc__", None):
                    yield from ("", f"   .. auto{'property' if isinstance(member, property) else 'method'}:: {name}")


def own_names(module: Any) -> list[str]:
    """Public classes and functions that the module defines itself, in the order of its source."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value)
    ]


def kind(value: Any) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) else "data"


def as_restructured_text(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code` in single backticks: makes that literal, and all else mean itself."""
    lines[:] = list(escaped(lines))


def as_written(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> Any:
    """Signatures that Sphinx could not parse: `~package.Name` becomes `Name`, a default made by a function is an ellipsis."""
    if signature is None:
        return None
    short = re.sub(r"~[\w.]*?(\w+)(?![\w.])", r"\1", signature)
    return re.sub(r"\s*=\s*<factory>", " = ...", short), returns


def escaped(lines: list[str]) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", "\n".join(lines)):  # paragraphs: a span of code may run over two lines
        if block.startswith("    "):  # a formula or a table in columns
            yield from ("::", "", *block.split("\n"), "")
        elif block.lstrip().startswith((">>>", ".. ")):
            yield from (*block.split("\n"), "")
        else:
            yield from ("".join(map(marked, re.split(r"(`+[^`]+`+)", block)))).split("\n")
            yield ""


def marked(part: str) -> str:
    if part.startswith("`"):
        return f"``{' '.join(part.strip('`').split())}``"
    return re.sub(r"[*|\\]|_\b", lambda found: "\\" + found.group(), part)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", SettingsTable)
    app.add_directive("options", OptionsTable)
    app.add_directive("layers", LayersTable)
    app.add_directive("api", Api)
    app.add_directive("loop-steps", LoopSteps)
    app.add_directive("loop-packages", LoopPackages)
    app.add_directive("loop-program", LoopProgram)
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("autodoc-process-signature", as_written)
    return {"parallel_read_safe": True}
