"""The exporter's command line, installed as `mentee-export`.

mentee-export checkpoint=runs/…/mentee.safetensors bundle=bundles/mine [SETTING=VALUE …]
mentee-export preflight …
mentee-export inspect BUNDLE
mentee-export verify BUNDLE
mentee-export keygen PRIVATE PUBLIC
"""

import sys
from typing import Any

HELP = """\
mentee-export checkpoint=FILE bundle=FOLDER [SETTING=VALUE …]
                                  makes a bundle of a run's mentee.safetensors; `mentee-export settings` lists the settings
mentee-export preflight …         what of a model has no gradient on the device and what would be done, without exporting
mentee-export inspect BUNDLE      prints what a bundle is (--json)
mentee-export verify BUNDLE       checks every byte of a bundle, its signature (--key), and its parity with torch anew
mentee-export keygen PRIVATE PUBLIC   makes the two files of an Ed25519 key: sign_key=PRIVATE, verify --key PUBLIC
mentee-export COMMAND --help      says more
"""
COMMANDS = ("inspect", "verify", "keygen")


def main() -> None:
    sys.argv[1:] = [
        argument.removeprefix("export.") for argument in sys.argv[1:]
    ]  # export.trainable=head is trainable=head
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        print(HELP, end="")
    elif command == "preflight":
        from export.cli.preflight import main as preflight

        sys.exit(preflight(sys.argv[2:]))
    elif command in COMMANDS:
        from export.cli.bundles import main as read_bundle

        sys.exit(read_bundle(sys.argv[1:]))
    elif command == "settings":
        sys.argv[1:] = ["--help", *sys.argv[2:]]
        export()
    elif "=" not in command and not command.startswith("-"):
        from mentor_mentee.errors import did_you_mean

        near = did_you_mean(command, ("preflight", "settings", *COMMANDS))
        print(f"error: no command '{command}'{near} (see mentee-export --help)", file=sys.stderr)
        sys.exit(2)
    else:
        export()


def export() -> None:
    from export.schema import ExportSettings, check_export
    from mentor_mentee.config.command_line import run_cli

    run_cli("export", ExportSettings, check_export, act)


def act(settings: Any) -> None:
    from export.cli.export import run_command  # torch and onnx take seconds to import: only now

    run_command(settings)


if __name__ == "__main__":
    main()
