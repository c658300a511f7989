"""The command that asks the mentor's service about samples which the owner chose."""

import argparse
import math

from mentee_device.bundle.archive import Bundle
from mentee_device.cli.inputs import Report, open_owner
from mentee_device.files import as_path
from mentee_device.online.conditions import on_charger
from mentee_device.online.errors import AskError
from mentee_device.online.service import Service
from mentee_device.owner import Owner

VERBS = ("add", "all", "remove", "run")


def ask(given: argparse.Namespace, bundle: Bundle) -> Report:
    """Asks the mentor about samples that you choose: they leave the device.

    add    chooses --samples to be sent by `run`
    all    chooses every sample that is stored now
    remove takes --samples out of the queue, or all of it
    run    sends what waits to --service, and stores the answers; learning uses them from its next run on
    """
    if given.verb == "add" and not given.samples:
        raise AskError("ask add needs --samples: their numbers, as `add` gave them; `ask all` chooses every one")
    with open_owner(given, bundle) as owner:
        if given.verb == "run":
            return _run(given, owner)
        if given.verb == "remove":
            return {"removed": owner.asking.remove(given.samples), **waiting(owner)}
        return {"chosen": owner.asking.add(given.samples if given.verb == "add" else None), **waiting(owner)}


def _run(given: argparse.Namespace, owner: Owner) -> Report:
    address = given.service or owner.bundle.manifest.service
    if not address:
        raise AskError("the bundle names no service: give its address, --service https://HOST")
    service = Service(address, _token(given.token_file), given.authority, given.timeout)
    may = on_charger if given.if_charging else lambda: True
    result = owner.asking.run(service, given.mentor, may=may, most=given.most)
    report: Report = {"left_the_device": result.sent, "answered": result.answered, **waiting(owner)}
    if result.refused:
        report["refused"] = owner.asking.asked.refused
    if result.why:
        report["later"] = result.why
    if result.after:
        report["not_before_seconds"] = math.ceil(result.after)
    return report


def waiting(owner: Owner) -> Report:
    """The numbers that wait."""
    return {"waiting": list(owner.asking.asked.waiting)}


def left(owner: Owner) -> Report:
    """Counts the samples that have left the device so far, for `info`."""
    asked = owner.asking.asked
    if not asked.sent and not asked.waiting:
        return {"left_the_device": "nothing"}
    return {
        "left_the_device": {
            "sent": asked.sent,
            "bytes": asked.sent_bytes,
            "last": asked.last,
            "to": asked.service,
            "answered": len(owner.state.answers.numbers()),
            "waiting": len(asked.waiting),
        }
    }


def _token(path: str | None) -> str:
    """From a file: what stands on a command line is seen by every process."""
    if not path:
        raise AskError("ask run needs --token-file: a file with this device's token")
    try:
        return as_path(path, AskError).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise AskError(f"{path} cannot be read ({error}): expected a file with this device's token") from None
