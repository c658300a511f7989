"""`{"_target_": "package.module.callable", **kwargs}`: how a configuration says what to build.

Checked against the callable's signature by reading its source, without importing it (torch alone takes seconds), so
that a wrong name is answered at once; only what cannot be read that way is imported.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mentor_mentee.callables import public, require_allowed
from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.sources import imported_sources, source_of
from mentor_mentee.targets import KINDS, Signature, imported
from mentor_mentee.targets import Recipe as Recipe
from mentor_mentee.targets import definition as definition
from mentor_mentee.targets import signature_imported as signature_imported
from mentor_mentee.targets import signature_in_source as signature_in_source
from mentor_mentee.targets import split_target as split_target

# Packages whose annotations are checked; a user's may be looser than they say.
OWN = ("mentor_mentee", "mentor", "mentee", "distill")
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
    own = module.partition(".")[0] in OWN
    check_options(recipe, signature, f"{module}.{name}", where, filled_in, also, kinds=own)


def check_options(
    recipe: Recipe,
    signature: Signature,
    called: str,
    where: str,
    filled_in: frozenset[str] = frozenset(),
    also: Iterable[str] = (),
    kinds: bool = False,
) -> None:
    """Raises `UserError` unless what is `called` takes every given option and misses none; `kinds`: of the annotated type."""
    known, required, open_ended, switches, annotated = signature
    given = {key for key in recipe if key != "_target_"}
    for key in sorted(given - known):
        if not open_ended:
            raise UserError(
                f"{where}: '{called}' has no option '{key}'{did_you_mean(key, [*known, *also])} "
                f"(it has {', '.join(sorted({*known, *also})) or 'none'})"
            )
    for key in sorted(given & switches):
        require_switch(recipe[key], f"{where}.{key}")
    for key in sorted(given & annotated.keys()) if kinds else ():
        require_kind(recipe[key], annotated[key], f"{where}.{key}")
    if missing := sorted(required - given - filled_in):
        module, _, name = called.rpartition(".")
        hint = as_recipe(module, name, f"{where}.{missing[0]}") if module else ""
        raise UserError(f"{where}: '{called}' needs {', '.join(missing)}; set {where}.{missing[0]}=…{hint}")


def as_recipe(module: str, name: str, where: str) -> str:
    """How to give an option that is an object, where the imported signature says of which class; else the empty string."""
    if signature_in_source(module, name) is not None:
        return ""
    option = inspect.signature(imported(module, name, where)).parameters[where.rpartition(".")[2]]
    kind = option.annotation
    if not inspect.isclass(kind) or kind is option.empty or kind.__module__ == "builtins":
        return ""
    return f" ({where}._target_={kind.__module__}.{kind.__qualname__} and its options make one)"


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


def build(recipe: Recipe, where: str, product: type | None = None) -> Any:
    """Calls the target with its options, recipes among them built before it (but for an option that is annotated as a
    `Recipe`, which gets it as it is).

    Raises `UserError` as `check_recipe` does; for what must not be called (`mentor_mentee.callables.require_allowed`), before
    any of it is called; and where the target fails or makes no `product`.
    """
    require_recipe(recipe, where, product)
    return made(recipe, where, product)


def require_recipe(recipe: Recipe, where: str, product: type | None, beside: Any = None) -> None:
    """Raises `UserError` unless the recipe and those among its options may be built."""
    check_recipe(recipe, where)
    target = imported(*split_target(recipe, where), where)
    require_allowed(target, where, recipe["_target_"], product, beside)
    for path, inner in inner_recipes(recipe, target, where):
        require_recipe(inner, path, product, target)


def inner_recipes(recipe: Recipe, target: Any, where: str) -> list[tuple[str, Recipe]]:
    """The outermost recipes among the options that are to be built, each with its place."""

    def inside(value: Any, path: str) -> list[tuple[str, Recipe]]:
        if isinstance(value, Mapping):
            if "_target_" in value:
                return [(path, value)]
            return [found for key, item in value.items() for found in inside(item, f"{path}.{key}")]
        if isinstance(value, list | tuple):
            return [found for i, item in enumerate(value) for found in inside(item, f"{path}[{i}]")]
        return []

    raw = takes_recipes(target)
    return [
        found
        for key in recipe
        if key not in raw
        for found in inside(recipe[key], f"{where}.{key}")
        if key != "_target_"
    ]


def takes_recipes(target: Any) -> set[str]:
    """The options that want a recipe, or several, as they are."""
    every = inspect.signature(target).parameters.values()
    return {option.name for option in every if option.annotation in (Recipe, Sequence[Recipe])}


def made(recipe: Recipe, where: str, product: type | None) -> Any:
    target = imported(*split_target(recipe, where), where)
    raw = takes_recipes(target)
    options = {
        key: value if key in raw else with_made(value, f"{where}.{key}")
        for key, value in recipe.items()
        if key != "_target_"
    }
    try:
        found = target(**options)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # most often an option of the wrong type or size; whatever the target makes of it
        given = {key: recipe[key] for key in options}
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: {recipe['_target_']} failed with {given}: {reason}") from error
    if product is not None and not isinstance(found, product):
        raise UserError(
            f"{where}: {recipe['_target_']} returned a {type(found).__name__}; expected a {public(product)}"
        )
    return found


def with_made(value: Any, where: str) -> Any:
    """The value with every recipe in it built."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return made(value, where, None)
        return {key: with_made(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_made(item, f"{where}[{i}]") for i, item in enumerate(value)]
    return value


def recipe_identity(recipe: Recipe, where: str) -> str:
    """sha256 over the recipe and the source of all that it names, recipes inside it included: one identity, one computation."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256("\0".join([text, *sources_of(recipe, where)]).encode()).hexdigest()


def sources_of(node: Any, where: str) -> list[str]:
    """The source behind each target in `node`, a recipe or what stands in one, outermost first: of its module, and of the user's
    own modules that this imports."""
    inside = node.values() if isinstance(node, Mapping) else node if isinstance(node, list | tuple) else ()
    found = [source for value in inside for source in sources_of(value, where)]
    if isinstance(node, Mapping) and "_target_" in node:
        target = imported(*split_target(node, where), where)
        return [source_of(target), *imported_sources(target), *found]
    return found
