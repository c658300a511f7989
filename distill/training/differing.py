"""Says which settings differ between two descriptions of one: of a recipe, a mapping, or what a dataclass prints."""

import ast
from collections.abc import Iterator

NAMED = 4  # settings that a message names


def differing(before: str, now: str, setting: str) -> list[tuple[str, str, str]]:
    """(name, before, now) of each setting inside `setting` that differs; of `setting` itself where they cannot be taken apart.

    `callbacks`, `{'ema': {'decay': 0.9}}`, `{'ema': {'decay': 0.5}}` -> `[("callbacks.ema.decay", "0.9", "0.5")]`.
    """
    try:
        old, new = (dict(leaves(ast.parse(text, mode="eval").body, setting)) for text in (before, now))
    except SyntaxError:
        return [(setting, before, now)]
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [(name, old.get(name, "nothing"), new.get(name, "nothing")) for name in names] or [(setting, before, now)]


def leaves(node: ast.expr, path: str) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Dict(keys=keys, values=values) if keys:
            for key, value in zip(keys, values, strict=True):
                name = str(key.value) if isinstance(key, ast.Constant) else ast.unparse(key) if key else "**"
                yield from leaves(value, f"{path}.{name}")
        case ast.Call(args=[], keywords=keywords) if keywords:
            for keyword in keywords:
                yield from leaves(keyword.value, f"{path}.{keyword.arg}")
        case ast.List(elts=[*members]) if members and isinstance(members[0], ast.Call):
            for number, member in enumerate(members):
                yield from leaves(member, f"{path}.{number}")
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return
        case _:
            yield path, ast.unparse(node)
