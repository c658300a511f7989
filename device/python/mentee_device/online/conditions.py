"""Conditions under which a device may ask."""

from pathlib import Path

POWER = Path("/sys/class/power_supply")  # of Linux and Android


def on_charger(power: Path = POWER) -> bool:
    """Whether a charger is connected; true for a machine that has no battery. Where nothing can be read, false."""
    try:
        supplies = {place.name: place for place in power.iterdir()}
        kinds = {name: read(place / "type") for name, place in supplies.items()}
        chargers = [name for name, kind in kinds.items() if kind not in ("Battery", "")]
        batteries = [name for name, kind in kinds.items() if kind == "Battery"]
        if any(read(supplies[name] / "online") == "1" for name in chargers):
            return True
        if any(read(supplies[name] / "status") in ("Charging", "Full") for name in batteries):
            return True
        return not batteries
    except OSError:
        return False


def read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
