"""Source code behind a callable: its module's, and that of the user's own modules that this one imports. Nothing is imported."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from mentor_mentee.callables import INSTALLED, OURS, is_standard, package_of
from mentor_mentee.targets import source_file


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


@lru_cache(maxsize=256)
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


def imported_sources(target: Any) -> list[str]:
    """The code of the user's own modules that the target's module imports, and that those import, by their names. Empty for an
    installed package, which its version stands for."""
    module = inspect.getmodule(target)
    start = "" if module is None else module.__name__
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        file = own_file(name)
        if file is None or name in found:
            continue
        found[name] = code_of(text := file.read_text())
        waiting += names_imported(text, name if file.name == "__init__.py" else name.rpartition(".")[0])
    return [found[name] for name in sorted(found) if name != start]


def own_file(module: str) -> Path | None:
    """The file of a module of the user's; None for what is installed, of this project, or of Python."""
    if not module or module == "__main__" or package_of(module) in OURS or is_standard(module):
        return None
    try:
        file = source_file(module)
    except (ValueError, ImportError):  # a module without a spec
        return None
    return file if file is not None and not INSTALLED & set(file.parts) else None


def names_imported(source: str, package: str) -> Iterator[str]:
    """The modules that a source names; of `from a import b` both `a` and `a.b`. `package`: what relative ones begin at."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package or None)
            except ImportError:  # beyond the top
                continue
            yield base
            yield from (f"{base}.{one.name}" for one in node.names)
