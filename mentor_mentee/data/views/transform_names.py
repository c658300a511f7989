"""Checks the names and the options of transforms against torchvision's source. Imports no torch: a typo is answered at once."""

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from mentor_mentee.errors import UserError, did_you_mean
from mentor_mentee.recipe import check_options, check_recipe
from mentor_mentee.targets import Signature, definition, imported, parameters, source_file, split_target

V2 = "torchvision.transforms.v2"
HOLDERS = ("Compose", "RandomApply", "RandomChoice", "RandomOrder")  # of other transforms
OF_THE_SAMPLE = (
    "CenterCrop",
    "RandomCrop",
    "RandomResizedCrop",
    "Resize",
)  # whose `size` is by default the sample's own
WORDS = {  # options that are an Enum in Python and a word in a configuration
    "interpolation": ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"),
    "policy": ("imagenet", "cifar10", "svhn"),
}
TYPES = "networks get standardised inputs anyway, and transforms keep the type; leave it out"
BOXES = "it is for boxes, masks or videos; leave it out"
SEVERAL = "it makes several images of one; take RandomCrop"
CALLED = "give a class or function of your own: {_target_: my_module.my_transform}"
REFUSED = (
    dict.fromkeys(("ToTensor", "PILToTensor", "ToImage", "ToPILImage", "ToPureTensor", "ToDtype"), TYPES)
    | dict.fromkeys(("ConvertImageDtype", "Normalize"), TYPES)
    | dict.fromkeys(("ClampBoundingBoxes", "ClampKeyPoints", "ConvertBoundingBoxFormat", "SetClampingMode"), BOXES)
    | dict.fromkeys(("SanitizeBoundingBoxes", "SanitizeKeyPoints", "RandomIoUCrop", "UniformTemporalSubsample"), BOXES)
    | dict.fromkeys(("FiveCrop", "TenCrop"), SEVERAL)
    | dict.fromkeys(("Lambda", "LinearTransformation"), CALLED)
    | {"MixUp": "set augment.mix.mixup, for it mixes a batch", "CutMix": "set augment.mix.cutmix, for it mixes a batch"}
)


class Named(NamedTuple):
    """One transform of a configuration: a name of torchvision's or a dotted target, and its options."""

    name: str
    options: dict[str, Any]

    @property
    def own(self) -> bool:
        return "." in self.name


def named(given: Any, where: str) -> Named:
    """`RandomHorizontalFlip` or `{_target_: RandomCrop, padding: 4}`. Raises `UserError` for anything else."""
    if isinstance(given, str):
        given = {"_target_": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("_target_"), str):
        raise UserError(
            f"{where}={given}; expected a name, as RandomHorizontalFlip, or {{_target_: RandomCrop, padding: 4}}"
        )
    options = {str(key): value for key, value in given.items() if key != "_target_"}
    return Named(given["_target_"].removeprefix(f"{V2}."), options)


def check_transforms(given: Any, where: str) -> None:
    """Raises `UserError` for a name or an option that cannot be meant, inside RandomApply and its like as well."""
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise UserError(f"{where}={given}; expected a list, as [RandomHorizontalFlip]")
    for i, one in enumerate(given):
        check_transform(one, f"{where}[{i}]")


def check_transform(given: Any, where: str) -> None:
    name, options = one = named(given, where)
    if one.own:
        recipe = {"_target_": name, **options}
        return check_recipe(recipe, where, filled_in=frozenset({image_option(recipe, where)}))
    if name in REFUSED:
        raise UserError(f"{where}: torchvision's {name} cannot be used here; {REFUSED[name]}")
    homes = transform_homes()
    if name not in homes:
        raise UserError(
            f"{where}: {V2} has no transform '{name}'{did_you_mean(name, [known for known in homes if known not in REFUSED])}; "
            "a callable of your own is written with its module: my_module.my_transform"
        )
    filled = frozenset({"size"}) if name in OF_THE_SAMPLE else frozenset[str]()
    check_options(options, inherited_signature(homes[name], name), name, where, filled, kinds=True)
    for option, words in WORDS.items():
        if option in options and options[option] not in words:
            word = options[option]
            raise UserError(f"{where}.{option}={word}{did_you_mean(str(word), words)}; expected {', '.join(words)}")
    if name in HOLDERS:
        check_transforms(options["transforms"], f"{where}.transforms")
    return None


def image_option(recipe: Mapping[str, Any], where: str) -> str:
    """Name of the parameter that gets the image; empty for a class, whose object is called with it."""
    module, name = split_target(recipe, where)
    found = definition(module, name)
    if found is None:
        target = imported(module, name, where)
        code = getattr(target, "__code__", None)
        return code.co_varnames[0] if code is not None and code.co_argcount else ""
    if found.skip or found.call is None:
        return ""
    args = [*found.call.args.posonlyargs, *found.call.args.args]
    return args[0].arg if args else ""


@cache
def transform_homes() -> dict[str, str]:
    """The transforms that torchvision exports: name -> the module that defines it."""
    return {
        alias.name: f"{V2}.{node.module}"
        for node in tree_of(V2).body
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module not in (None, "_utils")
        for alias in node.names
        if alias.name[:1].isupper() and alias.name != "Transform"
    }


def inherited_signature(module: str, name: str) -> Signature:
    """The signature of a class, of the base that has `__init__` where it has none itself."""
    tree = tree_of(module)
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    for item in found.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return parameters(item, skip=1)
    base = next(node.id for node in found.bases if isinstance(node, ast.Name))
    if base == "Transform":
        return inherited_signature(f"{V2}._transform", base)
    home = next(
        (
            f"{V2}.{node.module}"
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.level == 1 and base in [alias.name for alias in node.names]
        ),
        module,
    )
    return inherited_signature(home, base)


@cache
def tree_of(module: str) -> ast.Module:
    source = source_file(module)
    if source is None:
        raise UserError(f"no {module} is installed, whose transforms augmentation takes; install torchvision")
    return ast.parse(source.read_bytes())
