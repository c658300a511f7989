"""The command `mentee-device`, also `python -m mentee_device`."""

import sys

from mentee_device.interrupt import while_importing


def main() -> int:
    with while_importing():
        from mentee_device.cli.main import main as command
    return command()


if __name__ == "__main__":
    sys.exit(main())
