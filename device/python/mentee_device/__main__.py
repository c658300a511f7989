"""`python -m mentee_device`, where the console script is not on the path."""

import sys

from mentee_device.cli.main import main

sys.exit(main())
