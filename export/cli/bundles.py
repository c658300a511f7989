"""The verbs that read a bundle or make a key: arguments in, lines out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.cli.arguments import run
from mentee.checkpoint_file import require_checkpoint_file
from mentor_mentee.interrupt import while_importing
from mentor_mentee.settings import setting


@dataclass
class InspectSettings:
    bundle: Path = setting("???", "folder or zip")
    json: bool = setting(False, "print the manifest, parity.json and `signed` as one JSON object")


@dataclass
class VerifySettings:
    bundle: Path = setting("???", "folder or zip")
    key: Path | None = setting(None, "PEM file of the public key that must have signed it")
    checkpoint: Path | None = setting(
        None, "the mentee.safetensors it was made of: exports it again as it was, and compares"
    )
    json: bool = setting(False, "print the checks as one JSON list")


@dataclass
class KeygenSettings:
    private: Path = setting("???", "new PEM file, for sign_key=…; keep it to yourself")
    public: Path = setting("???", "new PEM file, for verify key=… and for the device")


def inspect(words: Sequence[str]) -> int:
    usage = "mentee-export inspect bundle=FOLDER_OR_ZIP [json=true]   prints what a bundle is"
    return run(InspectSettings, words, usage, print_inspected)


def verify(words: Sequence[str]) -> int:
    usage = "mentee-export verify bundle=FOLDER_OR_ZIP [key=PEM] [checkpoint=FILE]   checks a bundle, and its parity with torch"
    return run(VerifySettings, words, usage, print_verified)


def keygen(words: Sequence[str]) -> int:
    usage = "mentee-export keygen private=FILE public=FILE   makes the two files of an Ed25519 key"
    return run(KeygenSettings, words, usage, write_keys)


def print_inspected(given: InspectSettings) -> int:
    with while_importing():
        from export.bundle.reading.inspect import inspected, shown

    about = inspected(given.bundle)
    print(json.dumps(about) if given.json else shown(given.bundle, about))
    return 0


def print_verified(given: VerifySettings) -> int:
    with while_importing():
        from export.bundle.reading.read import require_there

    require_there(given.bundle)
    if given.checkpoint is not None:
        require_checkpoint_file(given.checkpoint)
    with while_importing():
        from export.bundle.verify import verify  # torch takes seconds to import: only now

    checks = verify(given.bundle, given.key, given.checkpoint)
    if given.json:
        print(json.dumps([vars(check) for check in checks]))
    else:
        words = {True: "ok", False: "FAILED", None: "not done"}
        print("\n".join(f"{words[check.passed]:10}{check.name:24}{check.detail}" for check in checks))
    return 0 if all(check.passed is not False for check in checks) else 1


def write_keys(given: KeygenSettings) -> int:
    with while_importing():
        from export.bundle.reading.signature import make_keys

    make_keys(given.private, given.public)
    print(f"private key  {given.private}  (sign_key={given.private})\npublic key   {given.public}")
    return 0
