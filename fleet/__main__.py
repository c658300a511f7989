"""`mentee-fleet release`: a run's result becomes the next base bundle, on the machine that has the checkpoint."""

import argparse
import sys
from pathlib import Path

from fleet.wire.errors import FleetError
from mentor_mentee.errors import UserError
from mentor_mentee.interrupt import while_importing
from mentor_mentee.output import quiet_when_unread


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mentee-fleet", description="Makes bundles of what a fleet has learnt.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    release = verbs.add_parser("release", help="a run's result -> a new base bundle, proved and signed")
    release.add_argument("--result", required=True, type=Path, help="file that the run wrote (`out`)")
    release.add_argument("--base", required=True, type=Path, help="bundle that the run began with")
    release.add_argument(
        "--checkpoint", required=True, type=Path, help="mentee.safetensors that the base was exported from"
    )
    release.add_argument("--bundle", required=True, type=Path, help="folder to make; <bundle>.zip is made beside it")
    release.add_argument("--sign-key", help="private key that signs it (mentee-export keygen)")
    release.add_argument(
        "--golden-drop", type=float, default=0.02, help="golden accuracy that it may cost (%(default)s)"
    )
    return parser


def main() -> int:
    given = make_parser().parse_args()
    try:
        with quiet_when_unread():
            with while_importing():
                from fleet.release.release import release
                from fleet.server.result import FleetResult
            made = release(
                FleetResult.load(given.result),
                given.base,
                given.checkpoint,
                given.bundle,
                sign_key=given.sign_key,
                golden_drop=given.golden_drop,
            )
            base = made.manifest["base"]["test"]
            print(f"bundle      {made.path}, {base['accuracy']:.2%} of {base['samples']} test samples")
            return 0
    except (FleetError, UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
