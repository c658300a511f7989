"""parity.json of a bundle, read as what its readers rely on."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mentor_mentee.errors import UserError

PARITY = "parity.json"


def read_parity(folder: Path, files: Collection[str]) -> dict[str, Any]:
    """Its content, empty where `files` of the bundle do not name it. Raises `UserError` for what no export writes."""
    if PARITY not in files:
        return {}
    try:
        found = json.loads((folder / PARITY).read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not _is_report(found):
        raise UserError(f"{PARITY} is not what an export writes; make the bundle again")
    return found


def _is_report(found: dict[str, Any]) -> bool:
    unproved, own = found.get("inconclusive", {}), found.get("torch_float32", {})
    return (
        isinstance(found.get("reference", ""), str)
        and isinstance(unproved, dict)
        and all(isinstance(why, str) for why in unproved.values())
        and isinstance(own, dict)
        and all(isinstance(values, dict) for values in own.values())
    )
