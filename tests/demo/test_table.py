"""The table of the demo, and what it says of its own figures."""

from pathlib import Path

from demo.cache import cached_json, save_json
from demo.table import spread, told


def test_what_did_not_help_is_said_so() -> None:
    assert told([1.0, 2.0]) == "1.5 ± 0.7 points"
    assert told([-1.0, 0.5]) == "-0.2 ± 1.1 points (THE MENTOR DID NOT HELP)"
    assert told([0.0, 0.0], "THE LAYERS") == "0.0 ± 0.0 points (THE LAYERS DID NOT HELP)"
    assert spread([97.25]) == "97.2"


def test_figures_are_read_again_under_their_own_key_only(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    assert cached_json(path, "a") is None
    save_json(path, "a", {"accuracy": 0.5})
    assert cached_json(path, "a") == {"accuracy": 0.5}
    assert cached_json(path, "b") is None
