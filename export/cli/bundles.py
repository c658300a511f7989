"""`mentee-export inspect|verify|keygen`: arguments in, lines out; a user's mistake is one line and exit code 2."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mentor_mentee.errors import UserError


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str]) -> int:
    given = parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except (UserError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the bundle is as it was", file=sys.stderr)
        return 130


def parser() -> Parser:
    made = Parser(prog="mentee-export")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    inspect = commands.add_parser("inspect", help="print what a bundle is")
    inspect.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder or zip")
    inspect.add_argument(
        "--json", action="store_true", help="the manifest, parity.json and `signed` as one JSON object"
    )
    inspect.set_defaults(run=run_inspect)
    verify = commands.add_parser("verify", help="check a bundle, and its parity with torch anew")
    verify.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder or zip")
    verify.add_argument("--key", type=Path, metavar="PEM", help="public key that must have signed it")
    verify.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="the mentee.safetensors it was made of: exports it again as it was, and compares",
    )
    verify.add_argument("--json", action="store_true", help="one JSON object")
    verify.set_defaults(run=run_verify)
    keygen = commands.add_parser("keygen", help="make an Ed25519 key")
    keygen.add_argument(
        "private", type=Path, metavar="PRIVATE", help="new PEM file, for sign_key=…; keep it to yourself"
    )
    keygen.add_argument("public", type=Path, metavar="PUBLIC", help="new PEM file, for verify --key and the device")
    keygen.set_defaults(run=run_keygen)
    return made


def run_inspect(given: argparse.Namespace) -> int:
    from export.bundle.inspect import inspected, shown

    about = inspected(given.bundle)
    print(json.dumps(about) if given.json else shown(given.bundle, about))
    return 0


def run_verify(given: argparse.Namespace) -> int:
    from export.bundle.verify import verify

    checks = verify(given.bundle, given.key, given.checkpoint)
    if given.json:
        print(json.dumps([vars(check) for check in checks]))
    else:
        for check in checks:
            print(
                f"{'ok' if check.passed else 'FAILED' if check.passed is False else 'not done':10}{check.name:24}{check.detail}"
            )
    return 0 if all(check.passed is not False for check in checks) else 1


def run_keygen(given: argparse.Namespace) -> int:
    from export.bundle.signature import make_keys

    make_keys(given.private, given.public)
    print(f"private key  {given.private}  (sign_key={given.private})\npublic key   {given.public}")
    return 0
