"""`{"_target_": "package.module.callable", **kwargs}`: how a configuration says what to build.

Checked against the callable's signature by reading its source, without importing it (torch alone takes seconds), so
that a wrong name is answered at once; only what cannot be read that way is imported.
"""

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from mentor_mentee.errors import UserError, did_you_mean

Recipe = Mapping[str, Any]
RENAMED = {
    f"data.{name}": f"mentor_mentee.data.{name}"
    for name in (
        *(f"datasets.{data_set}" for data_set in ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")),
        "arrays.arrays",
        "image_folder.image_folder",
    )
}  # targets in checkpoints and configurations made while `data` was a top-level package; those of other packages did not change

OWN = (
    "mentor_mentee",
    "mentor",
    "mentee",
    "distill",
)  # whose annotations are checked; a user's may be looser than they say
KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str, Path),
    "Path": (str, Path),
    "bool": (bool,),
}
NAMED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text (in quotes, where YAML reads something else)",
    "None": "null",
}


def check_recipe(recipe: Recipe, where: str, filled_in: frozenset[str] = frozenset(), also: Iterable[str] = ()) -> None:
    """Raises `UserError` unless the target exists, takes every given option and misses none.

    `where` is the place in the configuration, for the message; `filled_in` are options that will be added before it is
    built, `also` names that may stand beside the recipe, for a suggestion.
    """
    module, name = split_target(recipe, where)
    signature = signature_in_source(module, name) or signature_imported(module, name, where)
    known, required, open_ended, switches, kinds = signature
    given = {key for key in recipe if key != "_target_"}
    for key in sorted(given - known):
        if not open_ended:
            raise UserError(
                f"{where}: '{module}.{name}' has no option '{key}'{did_you_mean(key, [*known, *also])} "
                f"(it has {', '.join(sorted({*known, *also}))})"
            )
    for key in sorted(given & switches):
        require_switch(recipe[key], f"{where}.{key}")
    for key in sorted(given & kinds.keys()) if module.partition(".")[0] in OWN else ():
        require_kind(recipe[key], kinds[key], f"{where}.{key}")
    if missing := sorted(required - given - filled_in):
        raise UserError(f"{where}: '{module}.{name}' needs {', '.join(missing)}; set {where}.{missing[0]}=…")


def require_switch(value: Any, where: str) -> None:
    """YAML's `no` and `off` come here as words, which Python takes for true."""
    if isinstance(value, str):
        raise UserError(f"{where}={value}; expected true or false")


def require_kind(value: Any, kinds: frozenset[str], where: str) -> None:
    """`kinds`: names of `KINDS`, or None. Raises `UserError` for a list or a word where one number is wanted, and the reverse."""
    taken = tuple(kind for name in kinds for kind in KINDS.get(name, ()))
    fits = isinstance(value, taken) and (not isinstance(value, bool) or "bool" in kinds)
    if not fits and not (value is None and "None" in kinds):
        expected = " or ".join(NAMED[name] for name in NAMED if name in kinds)
        raise UserError(f"{where}={value!r}; expected {expected}")


def completed(recipe: Recipe, where: str, **known: object) -> dict[str, Any]:
    """The recipe, and of `known` what the target's signature names and the recipe leaves out."""
    accepted = inspect.signature(imported(*split_target(recipe, where), where)).parameters
    return {key: value for key, value in known.items() if key in accepted} | dict(recipe)


def build(recipe: Recipe, where: str) -> Any:
    """Calls the target. Raises `UserError` as `check_recipe` does."""
    check_recipe(recipe, where)
    target = imported(*split_target(recipe, where), where)
    options = {key: recipe[key] for key in recipe if key != "_target_"}
    try:
        return target(**options)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # most often an option of the wrong type or size; whatever the target makes of it
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: {recipe['_target_']} failed with {options}: {reason}") from error


def recipe_identity(recipe: Recipe, where: str) -> str:
    """sha256 over the recipe and the source of all that it names, recipes inside it included: one identity, one computation."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256("\0".join([text, *sources_of(recipe, where)]).encode()).hexdigest()


def sources_of(node: Any, where: str) -> list[str]:
    """The source of the module of each target in `node`, a recipe or what stands in one, outermost first."""
    inside = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
    found = [source for value in inside for source in sources_of(value, where)]
    if isinstance(node, Mapping) and "_target_" in node:
        return [source_of(imported(*split_target(node, where), where)), *found]
    return found


def source_of(target: Any) -> str:
    """The code of the module that the target comes from; where that has none, as a notebook, of its own functions."""
    module = inspect.getmodule(target)
    try:
        return code_of(inspect.getsource(module)) if module is not None else ""
    except (OSError, TypeError):
        functions = (
            [target] if inspect.isfunction(target) else [f for f in vars(target).values() if inspect.isfunction(f)]
        )
        return "\0".join(map(source_of_function, functions))


def source_of_function(function: Any) -> str:
    try:
        return code_of(inspect.getsource(function))
    except (OSError, TypeError):
        code = function.__code__
        return repr((code.co_name, code.co_names, code.co_code))


def code_of(source: str) -> str:
    """The source without comments, layout and docstrings: words may change without a mentor being trained again.

    As it is where it cannot be parsed: a lambda's source are its lines, which need not be a whole statement.
    """
    try:
        tree = ast.parse(textwrap.dedent(source))
    except SyntaxError:
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def split_target(recipe: Recipe, where: str) -> tuple[str, str]:
    target = recipe.get("_target_")
    parts = target.replace(":", ".").split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UserError(f"{where}._target_ is {target!r}; expected 'package.module.callable'")
    if (name := ".".join(parts)) in RENAMED and source_file(".".join(parts[:-1])) is None:
        parts = RENAMED[name].split(".")  # unless the user's own folder has a module of that name
    return ".".join(parts[:-1]), parts[-1]


class Signature(NamedTuple):
    known: set[str]
    required: set[str]  # those without a default
    open_ended: bool  # whether it takes any other
    switches: set[str]  # those that are true or false by default
    kinds: dict[str, frozenset[str]]  # of those whose annotation is a name of `KINDS`, or several, or None


class Definition(NamedTuple):
    """A target as its source shows it."""

    about: str  # its docstring
    call: ast.FunctionDef | None  # None where a class inherits what it is called with
    skip: int  # 1 where the first parameter is `self`


def signature_in_source(module: str, name: str) -> Signature | None:
    """The signature as the source shows it, or None."""
    found = definition(module, name)
    return None if found is None or found.call is None else parameters(found.call, found.skip)


def definition(module: str, name: str) -> Definition | None:
    source = source_file(module)
    if source is None:
        return None
    try:
        tree = ast.parse(source.read_bytes())
    except SyntaxError as error:
        raise UserError(f"'{source.name}', line {error.lineno}: {error.msg}; {module}.{name} cannot be read") from None
    for node in reversed(tree.body):  # the last definition of a name is the one that counts
        if isinstance(node, ast.ClassDef) and node.name == name:
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
            return Definition(ast.get_docstring(node) or "", methods[0] if methods else None, skip=1)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return Definition(ast.get_docstring(node) or "", node, skip=0)
    return None


def source_file(module: str) -> Path | None:
    """Finds a module without importing its parent package, which `find_spec` of a submodule would do."""
    top, *rest = module.split(".")
    spec = find_spec(top) if top != "__main__" else None  # a notebook has no spec, and it is imported already
    if spec is None:
        return None
    if rest:  # a folder without __init__.py is a package too
        places = [Path(folder).joinpath(*rest) for folder in spec.submodule_search_locations or ()]
        found = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))]
    else:
        found = [Path(spec.origin)] if spec.origin is not None else []
    return next((file for file in found if file.suffix == ".py" and file.is_file()), None)


def parameters(node: ast.FunctionDef, skip: int) -> Signature:
    args = (node.args.posonlyargs + node.args.args)[skip:]
    defaults: list[tuple[ast.arg, ast.expr | None]] = [*zip(args[::-1], node.args.defaults[::-1], strict=False)]
    defaults += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    switches = {arg.arg for arg, value in defaults if isinstance(value, ast.Constant) and isinstance(value.value, bool)}
    required = {arg.arg for arg in args[: len(args) - len(node.args.defaults)]}
    required |= {
        arg.arg for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if default is None
    }
    known = {arg.arg for arg in args + node.args.kwonlyargs}
    annotated = {arg.arg: annotation(arg.annotation) for arg in args + node.args.kwonlyargs}
    kinds = {name: kind for name, kind in annotated.items() if kind and kind <= {*KINDS, "None"}}
    return Signature(known, required, node.args.kwarg is not None, switches, kinds)


def annotation(node: ast.expr | None) -> frozenset[str]:
    """`int | None` -> {"int", "None"}; empty where there is none."""
    return frozenset(part.strip() for part in ast.unparse(node).split("|")) if node is not None else frozenset()


def signature_imported(module: str, name: str, where: str) -> Signature:
    every = inspect.signature(imported(module, name, where)).parameters.values()
    named = [p for p in every if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    required = {p.name for p in named if p.default is p.empty}
    switches = {p.name for p in named if isinstance(p.default, bool)}
    open_ended = any(p.kind == p.VAR_KEYWORD for p in every)
    return Signature({p.name for p in named}, required, open_ended, switches, {})


def imported(module: str, name: str, where: str) -> Any:
    try:
        home = import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{where}._target_: no module '{error.name}' for '{module}.{name}'; is it in this folder, or on PYTHONPATH?"
        ) from None
    if not callable(getattr(home, name, None)):
        raise UserError(f"{where}._target_: no '{name}' in '{module}'{did_you_mean(name, vars(home))}")
    return getattr(home, name)
