"""The callable that a recipe names, and its signature, read from source where that is possible: importing torch takes seconds."""

import ast
import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from mentor_mentee.callables import require_foreign
from mentor_mentee.errors import UserError, did_you_mean

Recipe = Mapping[str, Any]
KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str, Path),
    "Path": (str, Path),
    "bool": (bool,),
}
# Targets in checkpoints and configurations made while `data` was a top-level package; those of other packages did not change.
RENAMED = {
    f"data.{name}": f"mentor_mentee.data.{name}"
    for name in (
        *(f"datasets.{data_set}" for data_set in ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")),
        "arrays.arrays",
        "image_folder.image_folder",
    )
}


def split_target(recipe: Recipe, where: str) -> tuple[str, str]:
    target = recipe.get("_target_")
    parts = target.replace(":", ".").split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UserError(f"{where}._target_ is {target!r}; expected 'package.module.callable'")
    if (name := ".".join(parts)) in RENAMED and source_file(".".join(parts[:-1])) is None:
        parts = RENAMED[name].split(".")  # unless the user's own folder has a module of that name
    module, name = ".".join(parts[:-1]), parts[-1]
    require_foreign(module, where, f"{module}.{name}")
    return module, name


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
    target = imported(module, name, where)
    try:
        every = inspect.signature(target).parameters.values()
    except (ValueError, TypeError):  # as of some builtins
        raise UserError(
            f"{where}._target_: '{module}.{name}' does not say which options it takes; write a function of your own around it"
        ) from None
    named = [p for p in every if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    required = {p.name for p in named if p.default is p.empty}
    switches = {p.name for p in named if isinstance(p.default, bool)}
    open_ended = any(p.kind == p.VAR_KEYWORD for p in every) or (inspect.isclass(target) and wraps_any(target.__init__))
    return Signature({p.name for p in named}, required, open_ended, switches, {})


def wraps_any(initialiser: Any) -> bool:
    """Whether it is a wrapper that takes more than the signature it shows, as the configurations of transformers do."""
    shown = getattr(initialiser, "__wrapped__", None)
    code = getattr(initialiser, "__code__", None)
    return shown is not None and code is not None and bool(code.co_flags & inspect.CO_VARKEYWORDS)


def imported(module: str, name: str, where: str) -> Any:
    try:
        home = import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise UserError(
                f"{where}._target_: '{module}' cannot be imported, for it needs the module '{error.name}'; install that"
            ) from None
        raise UserError(
            f"{where}._target_: no module '{error.name}' for '{module}.{name}'; is it in this folder, or on PYTHONPATH?"
        ) from None
    except UserError:
        raise
    except Exception as error:  # whatever a module's own code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"{where}._target_: '{module}' cannot be imported ({reason})") from error
    if hasattr(home, name) and not callable(getattr(home, name)):
        raise UserError(
            f"{where}._target_: '{name}' in '{module}' is a {type(getattr(home, name)).__name__}, which cannot be called; "
            "expected a class or a function"
        )
    if not hasattr(home, name):
        raise UserError(f"{where}._target_: no '{name}' in '{module}'{did_you_mean(name, vars(home))}")
    return getattr(home, name)
