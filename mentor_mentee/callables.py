"""Which callables a recipe may name. A checkpoint brings its recipes along, and opening it calls them.

Nothing here is a sandbox: to look at a callable its module has to be imported, which runs that module's code.
"""

import functools
import inspect
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mentor_mentee.errors import UserError

OURS = frozenset({"mentor_mentee", "mentor", "mentee", "distill", "export", "demo", "benchmarks"})
INSTALLED = frozenset({"site-packages", "dist-packages"})
PUBLIC = {"torch.nn.modules.module.Module": "torch.nn.Module"}


def is_standard(module: str) -> bool:
    """Whether a module is of Python's standard library, and no file of the user's that only has such a name."""
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names:
        return False
    try:
        spec = find_spec(top)
    except ValueError:  # a module without a spec
        return True
    if spec is None or spec.origin is None or not Path(spec.origin).is_absolute():  # "built-in", "frozen"
        return True
    home = Path(spec.origin)
    return home.is_relative_to(sysconfig.get_path("stdlib")) or bool(INSTALLED & set(home.parts))


def require_foreign(module: str, where: str, called: str) -> None:
    """Raises `UserError` for a module of the standard library, before it is imported."""
    if is_standard(module):
        raise UserError(
            f"{where}._target_: '{called}' is of Python's standard library, of which a recipe may call nothing; expected a "
            "class or a function that makes what the recipe is of"
        )


def require_allowed(target: Any, where: str, called: str, product: type | None = None, beside: Any = None) -> None:
    """Raises `UserError` unless a recipe may call `target`.

    Never what is of the standard library, under whatever name. Else, where a `product` is to be made: a subclass of it, a
    function whose return annotation is one, or a function of the user's own files (not installed, and not of this
    project). `beside`: the target whose option this one makes; then also a class of the same package as that one.
    """
    maker = maker_of(target)
    owner = owner_of(maker)
    require_foreign(owner, where, called)
    if product is None or makes(maker, product):
        return
    if is_own(owner) and (beside is not None or not inspect.isclass(maker)):
        return
    if inspect.isclass(maker) and beside is not None and package_of(owner) == package_of(owner_of(maker_of(beside))):
        return
    kind = "class" if inspect.isclass(maker) else "function"
    expected = public(product)
    raise UserError(
        f"{where}._target_: '{called}' is a {kind} of {package_of(owner)} that is not known to make a {expected}, so it is not "
        f"called; expected a subclass of {expected}, a function annotated to return one, or a function in a file of yours"
    )


def maker_of(target: Any) -> Any:
    """The function or class that runs when `target` is called: partials and decorators are taken off."""
    while isinstance(target, functools.partial):
        target = target.func
    return inspect.unwrap(target) if callable(target) else target


def owner_of(maker: Any) -> str:
    """The module that defines it; of a bound method that of its object, of an instance that of its class."""
    found = getattr(maker, "__module__", None)
    if isinstance(found, str):
        return found
    owner = getattr(maker, "__self__", None)
    return str(getattr(owner, "__name__" if inspect.ismodule(owner) else "__module__", None) or type(maker).__module__)


def makes(maker: Any, product: type) -> bool:
    """Whether it is a subclass of `product`, or a function that says it returns one."""
    if inspect.isclass(maker):
        return issubclass(maker, product)
    returned = getattr(maker, "__annotations__", {}).get("return")
    if isinstance(returned, str):  # under `from __future__ import annotations`
        known = getattr(maker, "__globals__", {})
        first, *rest = returned.split(".")
        returned = functools.reduce(lambda found, name: getattr(found, name, None), rest, known.get(first))
    return inspect.isclass(returned) and issubclass(returned, product)


def is_own(module: str) -> bool:
    """Whether a module is a file of the user's: a script, a notebook, a folder of theirs, but nothing that was installed."""
    if module == "__main__":
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not INSTALLED & set(Path(file).parts) and package_of(module) not in OURS


def package_of(module: str) -> str:
    return module.partition(".")[0]


def public(product: type) -> str:
    name = f"{product.__module__}.{product.__qualname__}"
    return PUBLIC.get(name, name)
