"""Names that an owner gave to spare classes: rows of the classifier that come with a bundle and stand for nothing until then.

They are kept by what the bundle calls the class, and are in the base's list as well, so that labels follow the name to another
base.
"""

import unicodedata
from dataclasses import replace
from typing import Any

from mentee_device.bundle.manifest import Manifest
from mentee_device.bundle.samples import SampleError
from mentee_device.state import aside, base
from mentee_device.state.feature import Feature, NewBase
from mentee_device.state.storage.database import StateError
from mentee_device.state.storage.store import Store

NAME = "class names"
LOST = "lost class names"  # that the present base has no class for
LONGEST = 100
CLASS_NAME = f"1 to {LONGEST} printable characters without space around them"
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs")  # general categories; what is unassigned today is an emoji tomorrow
JOINING = {"\u200d", *map(chr, range(0xE0020, 0xE0080))}  # what emoji are put together with


def is_class_name(name: Any) -> bool:
    """Whether it is `CLASS_NAME`, by what every version of Unicode says alike: emoji are, of several code points too."""
    if not isinstance(name, str) or name != name.strip() or len(name) > LONGEST or not {*name} - JOINING:
        return False
    return not any(unicodedata.category(one) in UNSEEN for one in {*name} - JOINING - {" "})


def read_names(store: Store) -> dict[str, str]:
    """Names by what the bundle calls the class."""
    found = store.setting(NAME, {})
    return {str(spare): str(name) for spare, name in found.items()} if isinstance(found, dict) else {}


def name_class(store: Store, manifest: Manifest, name: Any, number: Any = None) -> tuple[int, Manifest]:
    """The number of the class that is called `name` from now on, the first that has no name or the spare class `number`, and the
    manifest with it. Raises SampleError; nothing is changed then."""
    if not is_class_name(name):
        raise SampleError(f"class name {repr(name)[:110]}: expected {CLASS_NAME}")
    if number is None and name in manifest.names.values():
        return manifest.classes.index(name), manifest
    if name in (*manifest.packed, *manifest.classes):
        raise SampleError(
            f"class {manifest.classes.index(name) if name in manifest.classes else name!r} is called {name!r} already"
        )
    if not manifest.spare:
        raise SampleError("the bundle has no spare class to name: export it with spare_classes=8, or enrol by example")
    if number is None:
        if not manifest.unnamed:
            raise SampleError(
                f"all {len(manifest.spare)} spare classes have names, {', '.join(manifest.names.values())[:200]}: give one "
                "another name by its number, remove one, or export the bundle with more"
            )
        number = manifest.unnamed[0]
    first = len(manifest.taught)
    if isinstance(number, bool) or not isinstance(number, int) or not first <= number < len(manifest.classes):
        last = len(manifest.classes) - 1
        raise SampleError(f"class {number!r} is no spare one: expected a number from {first} to {last}")
    named = manifest.named({**manifest.names, manifest.packed[number]: name})
    with store.transaction():
        write_names(store, named)
        store.record("class", f"class {number} is called {name!r}", number=number, name=name)
    return number, named


def write_names(store: Store, manifest: Manifest) -> None:
    """The names of `manifest`, of the store's bundle, in the caller's transaction."""
    store.set(NAME, manifest.names)
    there = base.read(store)
    if there is not None:
        store.delete(base.NAME)
        base.write_once(store, replace(there, classes=manifest.classes))


def free(store: Store, manifest: Manifest, name: str) -> None:
    """Takes `name` back from its spare class, in the caller's transaction: another class may have that then."""
    if name in manifest.names.values():
        left = {spare: given for spare, given in manifest.names.items() if given != name}
        write_names(store, manifest.named(left))
        store.record("class", f"class {manifest.classes.index(name)} is called {name!r} no longer")
    store.set(LOST, [one for one in lost_names(store) if one != name] or None)


def lost_names(store: Store) -> list[str]:
    """Names that the present base has no class for, given under an earlier one."""
    found = store.setting(LOST, [])
    return [str(name) for name in found] if isinstance(found, list) else []


def carried(store: Store, manifest: Manifest) -> dict[str, str]:
    """The owner's names for the spare classes of another base: those that it has as classes need none, the others take its spare
    ones as far as they go, in their order, and last those whose samples an earlier base had set aside."""
    waiting = {one.name for number in aside.numbers(store) if (one := aside.get(store, number)) is not None}
    given = [*read_names(store).values(), *(name for name in lost_names(store) if name in waiting)]
    left = [name for name in dict.fromkeys(given) if name not in manifest.packed]
    return dict(zip(manifest.spare, left, strict=False))


def united(mine: Manifest, theirs: dict[str, str]) -> Manifest:
    """The manifest with the names of another device of the owner as well. Raises StateError where one class has two names or one
    name two classes: their labels would mix."""
    for spare, name in theirs.items():
        here = mine.names.get(spare, name)
        elsewhere = next((other for other, given in mine.names.items() if given == name), spare)
        if here != name or elsewhere != spare:
            raise StateError(
                f"the other device calls class {spare!r} {name!r}, this one has {mine.names}: give spare classes the same names "
                "on both first, by number"
            )
    return mine.named({**mine.names, **theirs})


class ClassNameRows(Feature):
    """Names under another base are those that it was opened with."""

    def on_new_base(self, store: Store, change: NewBase) -> None:
        """Says what has no place there."""
        classes, before = set(change.manifest.classes), read_names(store).values()
        lost = sorted({*before, *lost_names(store)} - classes)
        store.set(NAME, change.manifest.names or None)
        store.set(LOST, lost or None)
        if new := sorted({*before} - classes):
            store.record("class", f"the new base has no spare class for {', '.join(new)}")
